"""All that is particular to SQLite: connections, pragmas, the schema's version and what its errors mean.

SQLite before 3.51.3 can corrupt a database when two connections write or checkpoint at once. So there is one writer,
which alone checkpoints; readers are query-only. The folder's lock keeps a second process out.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from genepool_protocol.wire.errors import GenepoolError, StorageError, Unavailable
from genepool_server.durable import sync, translated

_READERS: Final = 8
"""Transactions that read at the same time."""

_WAIT: Final = 10.0
"""Seconds that one more waits for its turn."""

_BUSY_MS: Final = 5000
_COMMON: Final = ("foreign_keys=ON", f"busy_timeout={_BUSY_MS}")
_WRITER: Final = (*_COMMON, "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
_READER: Final = (*_COMMON, "query_only=ON", "wal_autocheckpoint=0")


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A file. Implements `database.Database`."""

    path: Path

    @property
    def name(self) -> str:
        """See `Database`."""
        return self.path.name

    def exists(self) -> bool:
        """See `Database`."""
        return self.path.is_file()

    def prepare(self) -> None:
        """An empty file that only this user can read; SQLite gives its side files the same mode."""
        with translated(self.path):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        sync(self.path)

    def discard(self) -> None:
        """See `Database`."""
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def writer(self) -> Engine:
        """Its transactions take the write lock when they begin."""
        return self._engine("rw", _WRITER, "BEGIN IMMEDIATE", 1)

    def readers(self) -> Engine:
        """See `Database`."""
        return self._engine("rw", _READER, "BEGIN", _READERS)

    def onlookers(self) -> Engine:
        """They can neither write nor checkpoint."""
        return self._engine("ro", _READER, "BEGIN", 1)

    def _engine(self, mode: str, pragmas: tuple[str, ...], begin: str, size: int) -> Engine:
        url = f"sqlite:///file:{_quoted(self.path)}?mode={mode}&uri=true"
        engine = create_engine(
            url, pool_size=size, max_overflow=0, pool_timeout=_WAIT, connect_args={"check_same_thread": False}
        )

        def connected(connection: Any, _: object) -> None:
            connection.isolation_level = None  # the driver would begin transactions late, and only for changes
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").close()

        def begun(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        event.listen(engine, "connect", connected)
        event.listen(engine, "begin", begun)
        return engine

    def version(self, tx: Connection) -> int:
        """See `Database`."""
        return int(tx.exec_driver_sql("PRAGMA user_version").scalar_one())

    def set_version(self, tx: Connection, number: int) -> None:
        """See `Database`."""
        tx.exec_driver_sql(f"PRAGMA user_version={number:d}")

    def problems(self, tx: Connection) -> list[str]:
        """See `Database`."""
        problems = [str(row[0]) for row in tx.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
        return problems + [
            f"a row of {row[0]} refers to no {row[2]}" for row in tx.exec_driver_sql("PRAGMA foreign_key_check")
        ]

    def meaning(self, exc: DBAPIError) -> GenepoolError:
        """See `Database`."""
        code = getattr(exc.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StorageError(
                "DISK_FULL", f"there is no room to write {self.name}", "free some space, then try again"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable("BUSY", f"another process holds {self.name}", "try again in a minute", retry_seconds="5")
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return StorageError(
                "DISK_FAILED",
                f"the disk refuses {self.name} ({exc.orig})",
                "look at the disk and its permissions, then try again",
            )
        return StorageError(
            "LEDGER_INCONSISTENT",
            f"{self.name} contradicts itself ({exc.orig})",
            "run genepool-server fsck, restore a backup",
        )


def _quoted(path: Path) -> str:
    # SQLAlchemy passes the text on as it is; SQLite decodes percent signs
    text = str(path.absolute())
    return text.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
