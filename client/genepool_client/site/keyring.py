"""A site's keys on its disk, apart from each other: one signs learngenes, one is shown in TLS, one is a Flower node's.

signing.pem         the signing key, under a passphrase if the site wants one, and its public half
tls.pem             the TLS key, and its certificate once the pool issued it
signing.next.pem    keys that are about to take their places; they survive an interruption, so that
tls.next.pem        asking the pool again is asking for the same
node.key            the key of its node in Flower campaigns, in OpenSSH's form, which Flower wants
old/KEYID.pub       what earlier contributions were signed with

Everything is 0600 in a folder of 0700, and is not read otherwise.
"""

import getpass
import sys
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from genepool_client.transport.durable import remove, write_atomic
from genepool_protocol.machine import variables
from genepool_protocol.private_files import private_folder, sync_folder
from genepool_protocol.trust.key_files import TlsIdentity, read_private
from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.wire.errors import InvalidInput, NotFound

ANSWER: Final = variables.PASSPHRASE.name
"""Environment variable that answers for the person at the terminal; `PASSPHRASE_FILE` names a file that does."""

_LOST: Final = "restore it from a backup, or enrol with a new invitation: genepool site enrol DIR --invite FILE"
_NODE: Final = "remove it: a new one is made"
_PUBLIC: Final = b"-----BEGIN PUBLIC KEY-----"


class Keyring:
    """The keys in a folder.

    Args:
        folder: of the keys.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signing, self._next = folder / "signing.pem", folder / "signing.next.pem"
        self._tls, self._next_tls = folder / "tls.pem", folder / "tls.next.pem"
        self._unlocked: SigningKey | None = None

    def create(self, passphrase: bytes | None) -> None:
        """Make both keys, in place of whatever is there; public halves of earlier ones are kept."""
        private_folder(self._folder)
        if self._signing.exists():
            self._keep_public()
        for path in (self._next, self._next_tls):
            remove(path)
        _write_signing(self._signing, SigningKey.generate(), passphrase)
        write_atomic(self._tls, SigningKey.generate().pem(), 0o600)
        self._unlocked = None

    # -- the signing key -----------------------------------------------------------------------------------------------

    def signing_key(self) -> SigningKey:
        """The key that signs; a person is asked for its passphrase once.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED or PASSPHRASE_INVALID.
        """
        if self._unlocked is None:
            self._unlocked = _read_signing(self._signing)
        return self._unlocked

    @property
    def public(self) -> VerifyingKey:
        """Its public half, for which nobody is asked anything.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        _, begin, rest = read_private(self._signing, _LOST).partition(_PUBLIC)
        return VerifyingKey.from_pem(begin + rest)

    def public_of(self, keyid: str) -> VerifyingKey:
        """The public key that an earlier signature names; the current one when it is not one of ours.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        old = self._folder / "old" / f"{keyid}.pub"
        return VerifyingKey.from_pem(old.read_bytes()) if keyid.isalnum() and old.exists() else self.public

    def next_signing(self, passphrase: bytes | None) -> SigningKey:
        """The key that is about to take the signing key's place; made when there is none."""
        if not self._next.exists():
            _write_signing(self._next, SigningKey.generate(), passphrase)
        return _read_signing(self._next)

    def adopt_signing(self) -> None:
        """Put the next signing key in its place; repeating it does nothing."""
        if self._next.exists():
            self._keep_public()
            self._next.replace(self._signing)
            sync_folder(self._folder)
            self._unlocked = None

    def _keep_public(self) -> None:
        old, key = self._folder / "old", self.public
        private_folder(old)
        write_atomic(old / f"{key.keyid}.pub", key.pem.encode())

    # -- the TLS key ---------------------------------------------------------------------------------------------------

    def tls(self) -> TlsIdentity:
        """The TLS key, and its certificate if there is one yet.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        return TlsIdentity.read(self._tls, _LOST)

    def next_tls(self) -> TlsIdentity:
        """The key that is about to take the TLS key's place; made when there is none."""
        if not self._next_tls.exists():
            write_atomic(self._next_tls, SigningKey.generate().pem(), 0o600)
        return TlsIdentity.read(self._next_tls, _LOST)

    def keep_certificate(self, key: SigningKey, certificate: str) -> TlsIdentity:
        """Put a key with its certificate in the TLS key's place.

        Raises:
            InvalidInput: KEY_MALFORMED, the certificate is not for this key; nothing was changed.
        """
        identity = TlsIdentity(self._tls, key, certificate.encode())
        identity.check()
        write_atomic(self._tls, identity.pem(), 0o600)
        remove(self._next_tls)
        return identity

    # -- the node's key ------------------------------------------------------------------------------------------------

    def node(self) -> tuple[SigningKey, Path]:
        """The key of the site's Flower node, and the file that Flower reads it from; made when there is none.

        Raises:
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        path = self._folder / "node.key"
        if not path.exists():
            how = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
            write_atomic(path, SigningKey.generate().private.private_bytes(*how), 0o600)
        try:
            key = serialization.load_ssh_private_key(read_private(path, _NODE), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise InvalidInput("KEY_MALFORMED", f"{path} is no unencrypted OpenSSH key", _NODE) from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidInput("KEY_MALFORMED", f"{path} is no ECDSA P-256 key", _NODE)
        return SigningKey(key), path


def new_passphrase(*, wanted: bool) -> bytes | None:
    """What a new signing key is kept under: the environment's word, or a person's when it is wanted, or nothing.

    Raises:
        InvalidInput: PASSPHRASE_INVALID, it was not typed twice, or nobody can be asked.
        NotFound: FILE_MISSING, the environment names a file that cannot be read.
    """
    given = _given()
    if given or not wanted:
        return given.encode() if given else None
    first = _ask("a passphrase for the new signing key: ")
    if not first or first != _ask("once more: "):
        raise InvalidInput("PASSPHRASE_INVALID", "the passphrase is empty, or was not typed twice", "try again")
    return first.encode()


def _given() -> str:
    """The environment's word; empty when it has none."""
    path = variables.PASSPHRASE_FILE.get()
    if variables.PASSPHRASE.get() or not path:
        return variables.PASSPHRASE.get()
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as exc:
        raise NotFound(
            "FILE_MISSING",
            f"the passphrase cannot be read from {path}",
            f"correct {variables.PASSPHRASE_FILE.name}, or unset it",
        ) from exc


def _ask(what: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInput(
            "PASSPHRASE_INVALID",
            "the signing key needs a passphrase, and nobody is here to type it",
            f"set {ANSWER}",
        )
    return getpass.getpass(what)


def _write_signing(path: Path, key: SigningKey, passphrase: bytes | None) -> None:
    write_atomic(path, key.pem(passphrase) + key.public.pem.encode(), 0o600)


def _read_signing(path: Path) -> SigningKey:
    private = read_private(path, _LOST).partition(_PUBLIC)[0]
    what = f"signing key {path}"
    if not SigningKey.encrypted(private):
        return SigningKey.from_pem(private, what)
    return SigningKey.from_pem(private, what, (_given() or _ask(f"passphrase of {path}: ")).encode())
