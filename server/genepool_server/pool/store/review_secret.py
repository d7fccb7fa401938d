"""The pool's secret of reviews: who judges whom, and how sketches of what was withdrawn are made and kept.

It is unknown to whoever signs a contribution, so no id can be ground for a place among the judges, and who has the
ledger without it learns nothing from a sketch: that is sealed, and its random signs follow from the secret, too.
"""

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from genepool_protocol.trust.key_files import read_private
from genepool_protocol.wire.errors import StorageError
from genepool_server import durable
from genepool_server.admission.copies import Sketch
from genepool_server.admission.profile import WIDTH

_BYTES: Final = 32
_NONCE: Final = 12
_LOST: Final = "restore it from the backup of the pool's keys"


@dataclass(frozen=True, slots=True)
class ReviewSecret:
    """32 random bytes in `keys/review.key`, each use under a label of its own."""

    raw: bytes

    @classmethod
    def generate(cls) -> Self:
        """A fresh one."""
        return cls(os.urandom(_BYTES))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The one in a file.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            StorageError: LEDGER_INCONSISTENT, the file is no such secret.
        """
        raw = read_private(path, _LOST)
        if len(raw) != _BYTES:
            raise StorageError("LEDGER_INCONSISTENT", f"{path} has not the {_BYTES} bytes of a secret", _LOST)
        return cls(raw)

    @classmethod
    def ensure(cls, path: Path, *, needed: bool) -> Self:
        """The one in a file, made for a pool of older software that has none.

        Args:
            path: of the file.
            needed: whether there are sketches already, which another secret could not open.

        Raises:
            GenepoolError: as `read`.
        """
        if not needed and not path.exists():
            durable.create_exclusive(path, cls.generate().raw)
        return cls.read(path)

    @property
    def salt(self) -> bytes:
        """From which the random signs of sketches follow."""
        return self._derived("sketch salt")

    def rank(self, subject_site: str, judge_site: str, contribution_id: str) -> tuple[bytes, bytes]:
        """By which judges are sorted: sites first, in another order for each site, then a site's contributions."""
        return self._derived("judge", subject_site, judge_site), self._derived("turn", contribution_id)

    def seal(self, contribution_id: str, sketch: Sketch) -> bytes:
        """A sketch, encrypted and bound to its contribution."""
        nonce = os.urandom(_NONCE)
        plain = np.concatenate([sketch.direction, sketch.products]).astype("<f4").tobytes()
        return nonce + self._box.encrypt(nonce, plain, contribution_id.encode())

    def open(self, contribution_id: str, sealed: bytes) -> Sketch:
        """What `seal` was given, in float32.

        Raises:
            StorageError: LEDGER_INCONSISTENT, it was changed, or is of another secret or contribution.
        """
        try:
            plain = self._box.decrypt(sealed[:_NONCE], sealed[_NONCE:], contribution_id.encode())
            numbers = np.frombuffer(plain, "<f4").astype(np.float64).reshape(2, WIDTH)
        except (InvalidTag, ValueError) as exc:
            raise StorageError(
                "LEDGER_INCONSISTENT",
                f"the sketch of contribution {contribution_id[:16]} is damaged, or keys/review.key is another one",
                _LOST,
            ) from exc
        return Sketch(numbers[0], numbers[1])

    @property
    def _box(self) -> AESGCM:
        return AESGCM(self._derived("sketch seal"))

    def _derived(self, *words: str) -> bytes:
        return hmac.digest(self.raw, "\n".join(("genepool-review-v1", *words)).encode(), "sha256")
