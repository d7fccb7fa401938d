"""What binds an enrolling site to its pool: key requests, the MAC under the invitation, the fingerprint, the name.

Every field of the bytes that are hashed has one length, so that no two messages have the same bytes (SPEC section 18).
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.wire.errors import InvalidInput, VerificationError
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import ENROL_CONTEXT, FINGERPRINT_CONTEXT

_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What `cryptography` raises for requests and certificates that are none, or of a kind that it does not know."""

_FINGERPRINT: Final = 32
"""Hexadecimal digits that people compare: 128 bits."""


@dataclass(frozen=True, slots=True)
class Application:
    """What a site sends to enrol.

    Attributes:
        site: its name, as it was invited.
        invite_id: of the invitation, 32 hexadecimal digits.
        tls_csr: PKCS #10 in DER, for the key that it shows in TLS.
        signing_csr: the same for the key that signs its learngenes.
    """

    site: str
    invite_id: str
    tls_csr: bytes
    signing_csr: bytes


def mac(secret: str, origin: str, channel: bytes, application: Application) -> bytes:
    """HMAC-SHA256 by which a site shows that it holds the invitation, bound to pool, channel, name and both keys.

    Args:
        secret: the invitation's, 32 bytes in base64url.
        origin: name of the pool.
        channel: of the CA under which the site reached the pool, see `channel_of`.
        application: what is sent with it.
    """
    hashed = (origin.encode(), application.site.encode(), application.invite_id.encode())
    requests = (application.tls_csr, application.signing_csr)
    message = ENROL_CONTEXT + channel + b"".join(hashlib.sha256(part).digest() for part in (*hashed, *requests))
    return hmac.digest(base64.urlsafe_b64decode(secret + "="), message, "sha256")


def channel_of(ca_pem: str) -> bytes:
    """SHA-256 of the CA's SubjectPublicKeyInfo: what the site checked the pool's certificate with.

    Raises:
        InvalidInput: KEY_MALFORMED.
    """
    try:
        key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    except _UNREADABLE as exc:
        raise InvalidInput("KEY_MALFORMED", "the pool's CA is no PEM certificate", "ask the operator") from exc
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def make_csr(key: SigningKey) -> bytes:
    """A request for a key, in DER: without a name, since the pool gives it. The same key gives the same bytes."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key.private, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def read_csr(raw: bytes, what: str) -> VerifyingKey:
    """The key of a request whose own signature proves that the sender has it; name and extensions are ignored.

    Raises:
        InvalidInput: KEY_MALFORMED, it is no request, too large, or its key is not on P-256.
        VerificationError: SIGNATURE_INVALID, the key did not sign it.
    """
    if len(raw) > LIMITS.csr_bytes:
        raise InvalidInput(
            "KEY_MALFORMED", f"the {what} has {len(raw)} bytes", f"at most {LIMITS.csr_bytes} are allowed"
        )
    try:
        request = x509.load_der_x509_csr(raw)
        key = VerifyingKey.of(request.public_key())
        key.verify(request.signature, request.tbs_certrequest_bytes)
    except _UNREADABLE as exc:
        raise InvalidInput("KEY_MALFORMED", f"the {what} is no certificate signing request") from exc
    return key


def fingerprint(tls_keyid: str, signing_keyid: str) -> str:
    """What site and operator compare: 32 hexadecimal digits over both keys."""
    both = bytes.fromhex(tls_keyid) + bytes.fromhex(signing_keyid)
    return hashlib.sha256(FINGERPRINT_CONTEXT + both).hexdigest()[:_FINGERPRINT]


def grouped(digits: str) -> str:
    """A fingerprint that can be read aloud."""
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def check_fingerprint(said: str, found: str, site: str) -> None:
    """Refuse keys that are not those whose fingerprint somebody said; blanks and case do not count.

    Raises:
        VerificationError: FINGERPRINT_MISMATCH.
    """
    if not hmac.compare_digest("".join(said.split()).lower().encode(), found.encode()):
        raise VerificationError(
            "FINGERPRINT_MISMATCH",
            f"the keys of {site} have another fingerprint: {grouped(found)}",
            "do not approve it: invite the site anew with --again, on a channel that you trust",
        )


def site_uri(origin: str, site: str) -> str:
    """The one name in a site's certificate, a SPIFFE id; the trust domain stands for the pool."""
    return f"spiffe://{hashlib.sha256(origin.encode()).hexdigest()[:32]}/site/{site}"
