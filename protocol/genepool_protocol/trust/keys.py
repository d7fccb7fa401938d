"""Keys: ECDSA P-256 signs statements, Ed25519 signs the log's checkpoints; each key has one purpose.

`keyid` is the lower-case hex SHA-256 of the DER SubjectPublicKeyInfo, `hint` that of the PEM text (what the stock
model_signing compares). Both select a key; neither is evidence.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from genepool_protocol.wire.errors import InvalidInput, VerificationError

_ED25519: Final = 0x01
"""C2SP signed-note signature type of a log."""

_COSIGNATURE: Final = 0x04
"""C2SP signed-note signature type of a witness: Ed25519 over a note and a time."""

_LOG_NAME: Final = re.compile(r"[!-*,-~]{1,255}")
"""What can stand in a note's signature line and in a manifest."""


_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def _load_private(pem: bytes, what: str, passphrase: bytes | None = None) -> object:
    try:
        return serialization.load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        if passphrase is not None:
            raise InvalidInput("PASSPHRASE_INVALID", f"the passphrase does not open the {what}", "try again") from exc
        raise InvalidInput("KEY_MALFORMED", f"the {what} is not an unencrypted PEM private key") from exc


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes | None = None) -> bytes:
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        how = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """An ECDSA P-256 public key; `pem` is its one canonical text."""

    pem: str
    spki: bytes

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Self:
        """The key in a PEM text.

        Raises:
            InvalidInput: KEY_MALFORMED, it is no P-256 public key.
        """
        try:
            raw = pem.encode() if isinstance(pem, str) else pem
            key = serialization.load_pem_public_key(raw)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise InvalidInput("KEY_MALFORMED", "the key is not a PEM public key") from exc
        return cls.of(key)

    @classmethod
    def from_der(cls, spki: bytes) -> Self:
        """The key in a DER SubjectPublicKeyInfo, which must be its one canonical form.

        Raises:
            InvalidInput: KEY_MALFORMED, it is no P-256 public key.
        """
        try:
            key = cls.of(serialization.load_der_public_key(spki))
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise InvalidInput("KEY_MALFORMED", "the key is not a DER public key") from exc
        if key.spki != spki:
            raise InvalidInput("KEY_MALFORMED", "the key is not in its canonical DER form")
        return key

    @classmethod
    def of(cls, key: object) -> Self:
        """The key of a `cryptography` public key.

        Raises:
            InvalidInput: KEY_MALFORMED, it is not on P-256.
        """
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidInput("KEY_MALFORMED", "the key is not an ECDSA P-256 key", "make one on the curve prime256v1")
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = key.public_bytes(serialization.Encoding.PEM, info).decode()
        return cls(pem, key.public_bytes(serialization.Encoding.DER, info))

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def hint(self) -> str:
        """Hex SHA-256 of the PEM text: `publicKey.hint` of a model-signing bundle."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an ECDSA-SHA256 signature in DER.

        Raises:
            VerificationError: SIGNATURE_INVALID.
        """
        key = serialization.load_der_public_key(self.spki)
        try:
            key.verify(signature, message, ec.ECDSA(SHA256()))  # type: ignore[union-attr, call-arg, arg-type]
        except InvalidSignature as exc:
            raise VerificationError(
                "SIGNATURE_INVALID", f"the signature was not made over these bytes by key {self.keyid[:16]}"
            ) from exc


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An ECDSA P-256 private key. Signatures are deterministic (RFC 6979): signing again gives the same bytes."""

    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> Self:
        """A fresh key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes, what: str = "signing key", passphrase: bytes | None = None) -> Self:
        """The key in PKCS #8, encrypted if and only if there is a passphrase.

        Raises:
            InvalidInput: KEY_MALFORMED or PASSPHRASE_INVALID.
        """
        key = _load_private(pem, what, passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidInput("KEY_MALFORMED", f"the {what} is not an ECDSA P-256 key")
        return cls(key)

    @property
    def private(self) -> ec.EllipticCurvePrivateKey:
        """The key for `cryptography` (certificates are made with it)."""
        return self._key

    @property
    def public(self) -> VerifyingKey:
        """Its public half."""
        return VerifyingKey.of(self._key.public_key())

    @staticmethod
    def encrypted(pem: bytes) -> bool:
        """Whether a passphrase is needed to read the key."""
        return pem.lstrip().startswith(_ENCRYPTED)

    def pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS #8 PEM, unencrypted unless there is a passphrase: for a file of mode 0600."""
        return _private_pem(self._key, passphrase)

    def sign(self, message: bytes) -> bytes:
        """ECDSA-SHA256 in DER."""
        return self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))


@dataclass(frozen=True, slots=True)
class LogVerifier:
    """A log's public key under its origin name (C2SP signed-note verifier key of type Ed25519)."""

    kind: ClassVar[int] = _ED25519

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """`name+hash+base64` as C2SP writes it.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        name, _, rest = vkey.partition("+")
        text = rest.partition("+")[2]
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 33 or raw[0] != cls.kind or not _LOG_NAME.fullmatch(name):
            raise InvalidInput(
                "KEY_MALFORMED", f"the verifier key is not of the form NAME+HASH+BASE64 (type {cls.kind})"
            )
        key = cls(name, raw[1:])
        if key.vkey != vkey:  # base64 has more than one spelling
            raise InvalidInput("KEY_MALFORMED", "the verifier key does not match its own hash, or is not canonical")
        return key

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return f"{self.name}+{self.note_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @property
    def note_id(self) -> bytes:
        """The four bytes that select the key in a note."""
        return self.log_id[:4]

    @property
    def log_id(self) -> bytes:
        """Sigstore's 32-byte log id."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed the message."""
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class WitnessVerifier(LogVerifier):
    """A witness's public key under its name (C2SP tlog-cosignature, type 0x04)."""

    __slots__ = ()
    kind = _COSIGNATURE


@dataclass(frozen=True, slots=True)
class LogSigner:
    """A log's private key under its origin name; it signs checkpoints only."""

    name: str
    _key: ed25519.Ed25519PrivateKey

    def __post_init__(self) -> None:
        if not _LOG_NAME.fullmatch(self.name):
            raise InvalidInput(
                "NAME_INVALID",
                f"{self.name!r} cannot name a log",
                "use visible ASCII without + and blanks: pool.local/log",
            )

    @classmethod
    def generate(cls, name: str) -> Self:
        """A fresh key.

        Raises:
            InvalidInput: NAME_INVALID.
        """
        return cls(name, ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> Self:
        """The key in unencrypted PKCS #8.

        Raises:
            InvalidInput: KEY_MALFORMED or NAME_INVALID.
        """
        key = _load_private(pem, "log key")
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise InvalidInput("KEY_MALFORMED", "the log key is not an Ed25519 key")
        return cls(name, key)

    @property
    def public(self) -> LogVerifier:
        """Its public half."""
        return LogVerifier(self.name, self._key.public_key().public_bytes_raw())

    def pem(self) -> bytes:
        """PKCS #8 PEM, unencrypted: for a file of mode 0600."""
        return _private_pem(self._key)

    def sign(self, message: bytes) -> bytes:
        """Ed25519, deterministic."""
        return self._key.sign(message)


class WitnessSigner(LogSigner):
    """A witness's private key under its name; it signs other logs' checkpoints with a time, and nothing else."""

    __slots__ = ()

    @property
    def public(self) -> WitnessVerifier:
        """Its public half."""
        return WitnessVerifier(self.name, self._key.public_key().public_bytes_raw())
