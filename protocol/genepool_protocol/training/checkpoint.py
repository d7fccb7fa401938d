"""The file that an interrupted training goes on from: whole or not there, and of this very training or refused."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from genepool_protocol.private_files import replacing
from genepool_protocol.wire import disk_errors
from genepool_protocol.wire.errors import Refused

_FORMAT: Final = "checkpoint/v3"
"""Part of every fingerprint: the file of another version is refused, and stays where it is."""


@dataclass(frozen=True, slots=True)
class TrainingCheckpoint:
    """Where a training is kept.

    Attributes:
        path: of the file, in a folder that exists.
        fingerprint: what the training depends on (data, blueprint, recipe); the file of another one is refused.
    """

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file by this state, which holds tensors, numbers, texts, lists and mappings only.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; the file of the last time stays.
        """
        content = io.BytesIO()  # torch's own writer tells a full disk as a RuntimeError
        torch.save({"fingerprint": self._mark, **state}, content)
        try:
            with replacing(self.path) as file:
                file.write(content.getbuffer())
        except OSError as exc:
            raise disk_errors.told(exc, str(self.path)) from exc

    def load(self, device: str | torch.device) -> dict[str, Any] | None:
        """The state that was saved last, its tensors on `device`; None without a file.

        Raises:
            Refused: DATA_CHANGED, the file cannot be read or belongs to another training or version.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location=device)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            state = {}
        if state.get("fingerprint") != self._mark:
            raise Refused(
                "DATA_CHANGED",
                f"{self.path} cannot be read, or belongs to other images, another blueprint, recipe or version",
                "repeat with what it was started with, or remove the file to start again",
            )
        return state

    @property
    def _mark(self) -> str:
        return f"{_FORMAT} {self.fingerprint}"
