"""Whether a server ends the TLS handshake of a client over its certificate: gRPC says no more than that it failed."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from genepool_client.transport.causes import open_way
from genepool_protocol.trust.key_files import TlsIdentity

_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How HTTP/2 begins, with empty settings: a server that accepts us answers it."""


@dataclass(frozen=True, slots=True)
class CertifiedPlace:
    """Where a pool asks for certificates.

    Attributes:
        address: HOST:PORT.
        name: that the server is asked for, and that its certificate carries; empty: the host's.
    """

    address: str
    name: str = ""


def rejection(place: CertifiedPlace, ca_pem: str, identity: TlsIdentity) -> str | None:
    """Shake hands once more and see who hangs up.

    Args:
        place: where certificates are shown.
        ca_pem: who vouches for the server.
        identity: what is shown.

    Returns:
        What must be wrong with the certificate; None when it is accepted, or when nobody can tell.
    """
    host, _, port = place.address.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cadata=ca_pem)
    context.load_cert_chain(identity.path)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            open_way(host, int(port)) as plain,
            context.wrap_socket(plain, server_hostname=place.name or host) as secure,
        ):
            hung_up = _hangs_up(secure)
    except ssl.SSLError as exc:
        # TLS 1.2 refuses a certificate with an alert; a server that is gone or not trusted is another matter
        hung_up = "ALERT" in str(exc.reason)
    except OSError:
        return None  # there is no server
    if not hung_up:
        return None
    return "it has expired" if datetime.now(UTC) > identity.ends else "this pool did not issue it"


def _hangs_up(secure: ssl.SSLSocket) -> bool:
    """TLS 1.3 refuses a client's certificate after the client's own handshake is through."""
    try:
        secure.sendall(_HELLO)
        return not secure.recv(1)
    except TimeoutError:
        return False
    except OSError:  # an alert, or a reset
        return True
