"""The floor of accepting: what must happen to bytes before somebody may be told that they are kept."""

import hashlib
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self


class Floor:
    """Hashes, writes, syncs and commits, into a folder and a ledger of one table."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ledger = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
        self._ledger.execute("PRAGMA journal_mode=WAL")
        self._ledger.execute("PRAGMA synchronous=FULL")
        self._ledger.execute("CREATE TABLE t (x TEXT)")

    def keep(self, raw: bytes) -> None:
        """All of it for one file."""
        digest = hashlib.sha256(raw).hexdigest()
        with (self._folder / "part").open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        (self._folder / "part").replace(self._folder / digest)
        self._ledger.execute("INSERT INTO t VALUES (?)", (digest,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.close()
