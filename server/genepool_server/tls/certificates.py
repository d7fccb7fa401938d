"""X.509 as the pool uses it: an authority in two files of the folder of keys, and the leaves that it issues."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID, ObjectIdentifier

from genepool_protocol.trust.key_files import read_private
from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound
from genepool_server import durable

_SKEW: Final = timedelta(hours=1)
"""Certificates are valid from before they are made: clocks differ."""
_RESTORE: Final = "restore it from the backup"
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its key and its certificate."""

    key: SigningKey
    certificate: x509.Certificate

    @classmethod
    def read(cls, keys: Path, stem: str) -> Self:
        """The CA in `STEM.pem` and `STEM.crt`.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        return cls(SigningKey.from_pem(read_key(keys / f"{stem}.pem"), "CA key"), cls.certificate_of(keys, stem))

    @staticmethod
    def certificate_of(keys: Path, stem: str) -> x509.Certificate:
        """The CA's certificate alone.

        Raises:
            NotFound: FILE_MISSING.
            InvalidInput: KEY_MALFORMED.
        """
        return parse(read(keys / f"{stem}.crt"), f"{stem}.crt")

    def issue(
        self,
        key: VerifyingKey,
        names: x509.SubjectAlternativeName,
        purpose: ObjectIdentifier,
        now: datetime,
        end: datetime,
    ) -> x509.Certificate:
        """A certificate for one purpose that never outlives the CA.

        Args:
            key: whose.
            names: who that is; critical, since there is no subject.
            purpose: the one extended key usage.
            now: the time.
            end: until when it is valid.
        """
        public, usage = _public(key), dict.fromkeys(_USAGES, False) | {"digital_signature": True}
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.private.public_key())
        return (
            _builder(
                x509.Name([]), self.certificate.subject, public, now, min(end, self.certificate.not_valid_after_utc)
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(names, critical=True)
            .add_extension(signer, critical=False)
            .sign(self.key.private, SHA256())
        )


def create_authority(keys: Path, stem: str, title: str, now: datetime, life: timedelta) -> str:
    """Make a CA as `STEM.pem` and `STEM.crt`; returns the certificate.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when there is one.
    """
    key = SigningKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{title} {key.public.keyid[:16]}")])
    usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    certificate = (
        _builder(name, name, key.private.public_key(), now, now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(key.private, SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    durable.create_exclusive(keys / f"{stem}.pem", key.pem())
    durable.create_exclusive(keys / f"{stem}.crt", pem, 0o644)
    return pem.decode()


def renewal(certificate: x509.Certificate) -> datetime:
    """When two thirds of its life are over."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def parse(pem: bytes, what: str) -> x509.Certificate:
    """The certificate in a PEM text.

    Raises:
        InvalidInput: KEY_MALFORMED.
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise InvalidInput("KEY_MALFORMED", f"{what} is not a PEM certificate", _RESTORE) from exc


def read(path: Path) -> bytes:
    """A public file.

    Raises:
        NotFound: FILE_MISSING.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound("FILE_MISSING", f"the pool's file {path} cannot be read: {exc.strerror}", _RESTORE) from exc


def read_key(path: Path) -> bytes:
    """A private file.

    Raises:
        NotFound: FILE_MISSING.
        VerificationError: KEY_EXPOSED.
    """
    return read_private(path, _RESTORE)


def _public(key: VerifyingKey) -> ec.EllipticCurvePublicKey:
    public = load_der_public_key(key.spki)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise GenepoolError("INTERNAL", "a verifying key is no EC key")
    return public


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
