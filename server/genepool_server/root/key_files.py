"""Keys of the trust root on a disk: Ed25519 in unencrypted PKCS #8, mode 0600."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from genepool_protocol.trust.key_files import read_private
from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable

_MISSING = "bring the medium back that the operator keeps it on, and name its folder with --keys"


def create(path: Path) -> CryptoSigner:
    """A fresh key in a new file.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when the file exists.
    """
    signer = CryptoSigner.generate_ed25519()
    durable.create_exclusive(path, signer.private_bytes)
    return signer


def read(path: Path) -> CryptoSigner:
    """The key in a file.

    Raises:
        NotFound: FILE_MISSING.
        VerificationError: KEY_EXPOSED.
        InvalidInput: KEY_MALFORMED.
    """
    raw = read_private(path, _MISSING)
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as exc:
        raise InvalidInput("KEY_MALFORMED", f"{path} is no unencrypted PEM private key") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput("KEY_MALFORMED", f"{path} is no Ed25519 key")
    return CryptoSigner(key)


def read_all(folder: Path) -> list[CryptoSigner]:
    """Every key in a folder.

    Raises:
        GenepoolError: as `read`.
    """
    return [read(path) for path in sorted(folder.glob("*.pem"))]
