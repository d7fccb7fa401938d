"""Why a pool cannot be reached or is not trusted: one more try of our own, since gRPC says little more than that.

| what happens | reason |
|---|---|
| no name server knows the host | HOST_UNKNOWN |
| the proxy does not answer | PROXY_UNREACHABLE |
| the proxy answers something else than 200 | PROXY_REFUSED |
| the certificate is of the pool's CA, and for another host | CERT_OTHER_HOST |
| it is not valid yet; it has ended | CERT_TOO_EARLY, CERT_TOO_LATE |
| it is of a CA that is no pool's | TLS_INTERCEPTED |
| who answers hangs up before a certificate was shown: a gateway or balancer without a pool | POOL_UNREACHABLE |
"""

import base64
import http.client
import re
import socket
import ssl
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from cryptography import x509

from genepool_client.transport.proxies import VARIABLE, proxy_for, shown
from genepool_protocol.wire.errors import GenepoolError, Unavailable

UNEXPLAINED: Final = frozenset({"POOL_UNREACHABLE", "POOL_UNTRUSTED"})
"""Reasons that are worth a closer look."""

PASSING: Final = frozenset({"POOL_UNREACHABLE", "HOST_UNKNOWN", "PROXY_UNREACHABLE"})
"""What may be over in a moment: the pool, the name server or the proxy is away."""

_HUNG_UP: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)
_SECONDS: Final = 3.0
_OUR_CA: Final = "genepool CA "
_SHOWN: Final = 120  # characters of an issuer's name
_OTHER_HOST: Final = frozenset({62, 63, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and its neighbours
_TOO_EARLY: Final = 9
_TOO_LATE: Final = 10


def cause(address: str, ca_pem: str, name: str = "") -> GenepoolError | None:
    """Why the server at an address cannot be spoken with; None when it can be, or when there is no more to say.

    Args:
        address: HOST:PORT.
        ca_pem: who vouches for the server.
        name: that the server's certificate must carry; empty: the host's.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        with open_way(host, int(port)) as plain:
            return _untrusted(plain, address, ca_pem, name or host)
    except _ProxyError as exc:
        return exc.told
    except socket.gaierror:
        return Unavailable(
            "HOST_UNKNOWN",
            f"nobody knows the address of {host}",
            "check the name and this machine's DNS, or name a proxy that knows it in " + VARIABLE,
        )
    except OSError:
        return None


class _ProxyError(OSError):
    """What the proxy did instead."""

    def __init__(self, told: GenepoolError) -> None:
        super().__init__(told.message)
        self.told = told


def open_way(host: str, port: int) -> socket.socket:
    """A connection to a host, through the proxy for it if there is one; connecting and each step take some seconds.

    Raises:
        OSError: there is none.
    """
    proxy = proxy_for(host)
    if not proxy:
        return socket.create_connection((host, port), _SECONDS)
    parts = urlsplit(proxy)
    opened = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=_SECONDS)
    opened.set_tunnel(host, port, _login(parts.username, parts.password))
    try:
        opened.connect()
    except OSError as exc:
        opened.close()
        raise _ProxyError(_of_proxy(exc, f"{host}:{port}", shown(proxy))) from exc
    return opened.sock


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _of_proxy(exc: OSError, address: str, proxy: str) -> GenepoolError:
    status = re.match(r"Tunnel connection failed: ([0-9]{3})", str(exc))
    if status is None:
        return Unavailable(
            "PROXY_UNREACHABLE",
            f"the proxy {proxy} does not answer",
            f"check it, or go without: an empty {VARIABLE}, or the pool's host in no_proxy",
        )
    login = (
        "give it as http://USER:PASSWORD@HOST:PORT" if status[1] == "407" else f"ask its operator to allow {address}"
    )
    return Unavailable("PROXY_REFUSED", f"the proxy {proxy} does not let us to {address}: {status[1]}", login)


def _untrusted(plain: socket.socket, address: str, ca_pem: str, name: str) -> GenepoolError | None:
    context = ssl.create_default_context(cadata=ca_pem)
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(plain, server_hostname=name):
            return None
    except ssl.SSLCertVerificationError as exc:
        certificate = _certificate(address, name)
        return _of_certificate(exc.verify_code, certificate, address, name) if certificate is not None else None
    except _HUNG_UP:
        # gRPC calls every handshake that failed one of a wrong certificate
        return Unavailable(
            "POOL_UNREACHABLE",
            f"who answers at {address} hangs up before a certificate was shown: the pool behind it is away",
            "try again in a moment; if it stays so, ask the operator, or whoever keeps the gateway in between",
        )


def _certificate(address: str, name: str) -> x509.Certificate | None:
    """What the server shows, whoever vouches for it."""
    host, _, port = address.rpartition(":")
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - nothing is sent, and nothing of it is trusted
    context.set_alpn_protocols(["h2"])
    try:
        with (
            open_way(host.strip("[]"), int(port)) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _of_certificate(code: int, certificate: x509.Certificate, address: str, name: str) -> GenepoolError | None:
    now = datetime.now(UTC)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    clock = f"compare this machine's clock ({now:%Y-%m-%d %H:%M} UTC) with a true one"
    issuer = certificate.issuer.rfc4514_string()[:_SHOWN]
    if code in _OTHER_HOST:
        return Unavailable(
            "CERT_OTHER_HOST",
            f"the pool's certificate at {address} is for {_names(certificate)}, not for {name}",
            "use one of these names, or ask the operator: genepool-server names DIR --add " + name,
        )
    if code == _TOO_EARLY:
        why = f"the certificate at {address} is valid from {start:%Y-%m-%d %H:%M} UTC on, which is yet to come"
        return Unavailable("CERT_TOO_EARLY", why, clock)
    if code == _TOO_LATE:
        why = f"the certificate at {address} ended at {end:%Y-%m-%d %H:%M} UTC"
        return Unavailable("CERT_TOO_LATE", why, f"{clock}; if it is right, tell the pool's operator")
    if _OUR_CA not in issuer:
        return Unavailable(
            "TLS_INTERCEPTED",
            f"what answers at {address} shows a certificate of {issuer or 'nobody'}, which is no pool's CA",
            "a proxy opens TLS on the way, or this is another server: ask your network's people to pass it on unopened",
        )
    return None


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "nobody"
    return ", ".join(str(name.value) for name in names)[:_SHOWN]
