"""Who the pool is on the wire: its own CA, and the TLS certificate that the CA issues to the server.

Sites have certificates of another CA (`client_ca`), so none of them can ever pass for the server.

Clients pin the CA (`pool.json`), so the certificate may change at any time: when two thirds of its life are over, when
the host names change, and also while the server runs.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound
from genepool_server import durable
from genepool_server.tls import certificates

_log = logging.getLogger(__name__)

CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=90)
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
"""Names that every certificate carries: consumers on the pool's own machine."""

_DNS: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, both PEM, and when another one should take its place."""

    key: bytes
    chain: bytes
    renew_at: datetime


def create_ca(keys: Path, now: datetime, stem: str = "ca") -> str:
    """Make a CA of the pool as `STEM.pem` and `STEM.crt` in the folder of keys; returns the certificate.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when there is one.
    """
    return certificates.create_authority(keys, stem, "genepool CA", now, CA_LIFE)


def read_ca(keys: Path) -> str:
    """The CA's certificate.

    Raises:
        NotFound: FILE_MISSING.
        InvalidInput: KEY_MALFORMED.
    """
    return certificates.Authority.certificate_of(keys, "ca").public_bytes(Encoding.PEM).decode()


def current(keys: Path, hosts: Iterable[str], now: datetime) -> Identity:
    """The server's certificate for these hosts; a new one is issued and stored when its time has come.

    Args:
        keys: the folder with the CA.
        hosts: names and IP addresses that clients connect to, besides `LOCAL`.
        now: the time.

    Raises:
        NotFound: FILE_MISSING, the CA.
        InvalidInput: KEY_MALFORMED, the CA; CONFIG_INVALID, a host is neither a name nor an address.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    names = _names(hosts)
    stored = _stored(keys)
    if stored is not None:
        identity, certificate = stored
        same = set(_alternatives(certificate)) == set(names)
        issuer = certificates.Authority.certificate_of(keys, "ca").subject
        if same and certificate.issuer == issuer and now < identity.renew_at:
            return identity
    return _issue(keys, names, now)


def temporary(keys: Path, hosts: Iterable[str], now: datetime, end: datetime) -> Identity:
    """A certificate for another server of this machine that is soon over; it is not stored.

    Args:
        keys: the folder with the CA.
        hosts: names and IP addresses that clients connect to, besides `LOCAL`.
        now: the time.
        end: until when it is valid.

    Raises:
        NotFound: FILE_MISSING, the CA.
        InvalidInput: KEY_MALFORMED, the CA; CONFIG_INVALID, a host is neither a name nor an address.
    """
    return _certified(keys, _names(hosts), now, end)[0]


def server_credentials(
    get: Callable[[], Identity], now: Callable[[], datetime], client_ca: bytes | None = None
) -> grpc.ServerCredentials:
    """TLS for the server; a certificate whose time has come is replaced while it serves.

    Args:
        get: the current identity, which may issue a new one.
        now: the clock.
        client_ca: the CA under which every client must have a certificate; None: clients show none.
    """
    identity = get()

    def configuration(of: Identity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(of.key, of.chain)], client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal identity
        if now() < identity.renew_at:
            return None
        try:
            identity = get()
        except (GenepoolError, OSError):
            # the old certificate is valid for another month: a full disk must not take the pool away
            _log.exception("the TLS certificate could not be replaced")
            return None
        return configuration(identity)

    required = client_ca is not None
    # None means no change, which the type stubs do not know
    return grpc.dynamic_ssl_server_credentials(configuration(identity), fetch, required)  # type: ignore[arg-type]


def _issue(keys: Path, names: list[x509.GeneralName], now: datetime) -> Identity:
    identity, certificate = _certified(keys, names, now, now + SERVER_LIFE)
    durable.write(keys / "tls.pem", identity.key)
    durable.write(keys / "tls.crt", identity.chain, 0o644)
    end = certificate.not_valid_after_utc.isoformat()
    _log.info("issued a TLS certificate for %s until %s", ", ".join(str(name.value) for name in names), end)
    return identity


def _certified(
    keys: Path, names: list[x509.GeneralName], now: datetime, end: datetime
) -> tuple[Identity, x509.Certificate]:
    authority, key = certificates.Authority.read(keys, "ca"), SigningKey.generate()
    alternatives = x509.SubjectAlternativeName(names)
    certificate = authority.issue(key.public, alternatives, ExtendedKeyUsageOID.SERVER_AUTH, now, end)
    renew_at = certificates.renewal(certificate)
    return Identity(key.pem(), certificate.public_bytes(Encoding.PEM), renew_at), certificate


def _stored(keys: Path) -> tuple[Identity, x509.Certificate] | None:
    try:
        key, chain = certificates.read_key(keys / "tls.pem"), certificates.read(keys / "tls.crt")
        certificate = certificates.parse(chain, "tls.crt")
        # a kill between the two writes leaves a key and a certificate that do not belong together
        if SigningKey.from_pem(key).private.public_key() != certificate.public_key():
            return None
    except (NotFound, InvalidInput):
        return None
    return Identity(key, chain, certificates.renewal(certificate)), certificate


def _alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    return [_general_name(host) for host in dict.fromkeys([*hosts, *LOCAL])]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _DNS.fullmatch(host):
            raise InvalidInput(
                "CONFIG_INVALID", f"{host[:253]!r} is neither a host name nor an IP address", "mend listen or advertise"
            ) from None
        return x509.DNSName(host)


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)
