"""Who calls: from what TLS and the socket say to a site of the registry and its roles; asked for every message."""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, Protocol
from urllib.parse import unquote

from cryptography import x509

from genepool_protocol.trust.enrolment import site_uri
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.errors import GenepoolError, Refused
from genepool_server.admission.statement import require_active
from genepool_server.front.guards.arrivals import ARRIVALS
from genepool_server.pool.sites.tls_key_cache import Holder

Anonymous = Literal["nobody", "local", "everybody"]
"""Who may consume without a certificate."""

_CONSUMER: Final = frozenset({"consumer"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a message.

    Attributes:
        site: its name; empty for a caller without a certificate.
        roles: what it may be.
    """

    site: str
    roles: frozenset[str]


class Callers(Protocol):
    """Tells who calls from a call's context; raises what refuses the caller altogether."""

    def __call__(self, context: Any) -> Caller:
        """The caller as of this moment."""
        ...


def operators(context: Any) -> Caller:  # noqa: ARG001 - see `Callers`
    """The operator's socket: who can reach it is the operator."""
    return Caller("", frozenset({"operator"}))


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a certificate says, which TLS has checked against the client CA."""

    keyid: str
    names: tuple[str, ...]
    ends: datetime


@lru_cache(maxsize=4096)
def _shown(pem: bytes) -> _Shown:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        keyid = VerifyingKey.of(certificate.public_key()).keyid
    except (ValueError, x509.ExtensionNotFound, GenepoolError) as exc:
        raise _unknown("is not of the form that this pool issues") from exc
    return _Shown(keyid, tuple(_text(name) for name in names), certificate.not_valid_after_utc)


def _text(name: x509.GeneralName) -> str:
    return name.value if isinstance(name, x509.UniformResourceIdentifier) else f"{type(name).__name__}:{name.value}"


def _unknown(why: str) -> Refused:
    return Refused("CERT_UNKNOWN", f"the certificate {why}", "enrol again with a new invitation")


class NetworkCallers:
    """Callers on the network: a certificate's owner as the registry knows it, or nobody in particular.

    Args:
        holder: the registry's word on a TLS key.
        origin: name of the pool.
        anonymous: who may consume without a certificate.
        now: the clock.
    """

    def __init__(
        self,
        holder: Callable[[str], Holder | None],
        origin: str,
        anonymous: Anonymous,
        now: Callable[[], datetime],
    ) -> None:
        self._holder = holder
        self._origin = origin
        self._anonymous = anonymous
        self._now = now

    def __call__(self, context: Any) -> Caller:
        """The caller as of this moment.

        Raises:
            Refused: CERT_UNKNOWN, CERT_EXPIRED, SITE_NOT_ACTIVE or KEY_REVOKED.
        """
        pem = context.auth_context().get("x509_pem_cert")
        if not pem:
            return Caller("", _CONSUMER if self._welcome(ARRIVALS.peer(context)) else frozenset())
        return self._certified(_shown(bytes(pem[0])))

    def _certified(self, shown: _Shown) -> Caller:
        holder, now = self._holder(shown.keyid), self._now()
        if holder is None:
            raise _unknown("is for a key that this pool's registry does not know")
        if shown.names != (site_uri(self._origin, holder.site),):
            raise _unknown("does not name exactly the site that registered its key")
        require_active(holder.site, holder.state)
        if holder.ends is not None and now > holder.ends:
            raise _unknown("was replaced by a newer one")
        if now > shown.ends:
            raise Refused(
                "CERT_EXPIRED",
                f"the certificate of {holder.site} ended at {shown.ends:%Y-%m-%d %H:%M} UTC",
                "ask the operator for a new invitation (--again)",
            )
        return Caller(holder.site, holder.roles)

    def _welcome(self, peer: str) -> bool:
        return self._anonymous == "everybody" or (self._anonymous == "local" and _is_local(peer))


def _is_local(peer: str) -> bool:
    """Whether gRPC's name of a peer (ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000) is a program of this machine."""
    kind, _, rest = unquote(peer).partition(":")
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]"))
    except ValueError:
        return kind == "unix"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or _is_ours(address)


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an interface of this machine has the address: the way to it then begins at itself. Nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False
