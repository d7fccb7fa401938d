"""What was computed, under a key of everything that it depends on.

An interrupted benchmark goes on; a changed step computes itself and what needs it again, and nothing else.
"""

import ast
import hashlib
import inspect
import io
import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from genepool_client.transport.durable import write_atomic
from genepool_protocol.private_files import private_folder

Arrays = dict[str, npt.NDArray[Any]]


def content_key(step: str, **inputs: object) -> str:
    """Hex SHA-256 over a step's name and its inputs (JSON values; everything else by its text)."""
    text = json.dumps([step, inputs], sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_FOLLOWED: Final = (
    "genepool_client.pictures.",
    "genepool_client.training.",
    "genepool_protocol.learngene.",
    "genepool_protocol.selection.",
    "genepool_protocol.training.",
)
"""Imports that are part of a step's version; what only talks, stores or signs is not."""


@cache
def code_digest(*modules: ModuleType) -> str:
    """Hex SHA-256 over the sources of modules, and of the method's modules that they import: the version of a step."""
    sources: dict[str, str] = {}
    left = [*modules]
    while left:
        module = left.pop()
        if module.__name__ not in sources:
            sources[module.__name__] = inspect.getsource(module)
            left += [sys.modules[name] for name in _imported(sources[module.__name__]) if name in sys.modules]
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _imported(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.startswith(_FOLLOWED)]


class Store:
    """A folder of results by content key: `.json` records and `.npz` arrays, each whole or not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        private_folder(root)

    def path(self, key: str, suffix: str) -> Path:
        """Where a result lies."""
        return self.root / key[:2] / f"{key}{suffix}"

    def has(self, key: str) -> bool:
        """Whether a step is finished: its record is written last."""
        return self.path(key, ".json").exists()

    def record(self, key: str) -> dict[str, Any]:
        """The record of a finished step."""
        content: dict[str, Any] = json.loads(self.path(key, ".json").read_bytes())
        return content

    def arrays(self, key: str) -> Arrays:
        """The arrays of a finished step."""
        with np.load(self.path(key, ".npz"), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def put(self, key: str, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        """Keep a step's result; its checkpoints are no longer needed."""
        self.path(key, "").parent.mkdir(exist_ok=True)
        if arrays is not None:
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **arrays)
            write_atomic(self.path(key, ".npz"), buffer.getvalue())
        write_atomic(self.path(key, ".json"), json.dumps(record).encode())
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def work(self, key: str) -> Path:
        """A folder for the checkpoints of an unfinished step."""
        folder = self.root / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder
