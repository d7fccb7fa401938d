"""Sealed copies of the weights, for backups: each under a data key of its own, which withdrawing destroys.

The store itself is plain files, because they are mapped; a copy that leaves the pool's machine should be sealed. A data
key is made when its blob is first sealed, and lies apart from blobs and ledger. Whoever backs `keys/data` up, too, must
forget those backups as fast as withdrawals shall take effect.

    FOLDER/aa/<sha256>.sealed     12 bytes of nonce, then AES-256-GCM of the blob, with its digest as associated data
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import NotFound, StorageError
from genepool_server import durable
from genepool_server.pool.store.blobs import Blobs

SUFFIX: Final = ".sealed"
_NONCE: Final = 12


class Sealer:
    """Seals blobs, and forgets how to open them.

    Args:
        keys: the folder of data keys; made when the first one is.
        blobs: the store.
    """

    def __init__(self, keys: Path, blobs: Blobs) -> None:
        self._keys = keys
        self._blobs = blobs

    def seal(self, sha256: str, folder: Path) -> bool:
        """Put a sealed copy of a blob into a folder; False when one is there.

        Raises:
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
        """
        target = _place(folder, sha256)
        if target.is_file():
            return False
        raw = _read(self._blobs.local(sha256))
        if digest.sha256_hex(raw) != sha256:
            raise StorageError("BLOB_CORRUPT", f"the stored file {sha256[:16]} is damaged", "run genepool-server fsck")
        nonce = os.urandom(_NONCE)
        sealed = nonce + AESGCM(self._key(sha256)).encrypt(nonce, raw, sha256.encode())
        durable.parents(target)
        durable.write(target, sealed)
        return True

    def unseal(self, sha256: str, folder: Path) -> bytes:
        """The blob in a sealed copy.

        Raises:
            NotFound: FILE_MISSING, there is no copy, or its data key was destroyed.
            StorageError: BLOB_CORRUPT, the copy is damaged; DISK_FAILED.
        """
        place, key = _place(folder, sha256), self._keys / sha256
        for path, what in ((place, "sealed copy"), (key, "data key")):
            if not path.is_file():
                raise NotFound("FILE_MISSING", f"there is no {what} of {sha256[:16]}", "it cannot be restored")
        sealed = _read(place)
        try:
            return AESGCM(_read(key)).decrypt(sealed[:_NONCE], sealed[_NONCE:], sha256.encode())
        except (InvalidTag, ValueError) as exc:
            raise StorageError(
                "BLOB_CORRUPT", f"the sealed copy {place} is damaged, or of another key", "use another backup"
            ) from exc

    def forget(self, sha256: str) -> None:
        """Destroy a blob's data key; repeating it is fine.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        if self._keys.is_dir():
            durable.wipe(self._keys / sha256)

    def known(self, digests: Iterable[str]) -> list[str]:
        """Those of these blobs that have a data key."""
        return [sha256 for sha256 in digests if (self._keys / sha256).exists()]

    def _key(self, sha256: str) -> bytes:
        path = self._keys / sha256
        if not path.is_file():
            durable.mkdir(self._keys)
            durable.write(path, AESGCM.generate_key(256))
        return _read(path)


def _place(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / f"{sha256}{SUFFIX}"


def _read(path: Path) -> bytes:
    with durable.translated(path):
        return path.read_bytes()
