"""All that is particular to SQLite: connections, pragmas, the schema's version and what its errors mean.

SQLite before 3.51.3 can corrupt a database when two connections write or checkpoint at once. So there is one writer,
which alone checkpoints; readers are query-only.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from genepool_protocol.wire.errors import GenepoolError, StorageError, Unavailable
from genepool_server.pool.durable import translated

_READERS: Final = 8
"""Transactions that read at the same time."""

_WAIT: Final = 10.0
"""Seconds that one more waits for its turn."""

_BUSY_MS: Final = 5000
_COMMON: Final = ("foreign_keys=ON", f"busy_timeout={_BUSY_MS}")
_WRITER: Final = (*_COMMON, "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
_READER: Final = (*_COMMON, "query_only=ON", "wal_autocheckpoint=0")


def touch(path: Path) -> None:
    """An empty database file that only this user can read; SQLite gives its side files the same mode.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def writer(path: Path) -> Engine:
    """The one connection that writes; its transactions take the write lock when they begin."""
    return _engine(path, "rw", _WRITER, "BEGIN IMMEDIATE", 1)


def readers(path: Path) -> Engine:
    """Connections that can only read; each transaction sees one moment."""
    return _engine(path, "rw", _READER, "BEGIN", _READERS)


def onlookers(path: Path) -> Engine:
    """Connections of a process that does not hold the folder's lock: they can neither write nor checkpoint."""
    return _engine(path, "ro", _READER, "BEGIN", 1)


def _engine(path: Path, mode: str, pragmas: tuple[str, ...], begin: str, size: int) -> Engine:
    url = f"sqlite:///file:{_quoted(path)}?mode={mode}&uri=true"
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


def _quoted(path: Path) -> str:
    # SQLAlchemy passes the text on as it is; SQLite decodes percent signs
    text = str(path.absolute())
    return text.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def version(tx: Connection) -> int:
    """The schema's version, 0 for an empty database."""
    return int(tx.exec_driver_sql("PRAGMA user_version").scalar_one())


def set_version(tx: Connection, number: int) -> None:
    """Set the schema's version, with the transaction."""
    tx.exec_driver_sql(f"PRAGMA user_version={number:d}")


def problems(tx: Connection) -> list[str]:
    """What SQLite itself finds wrong with the file's pages, indexes and references."""
    found = [str(row[0]) for row in tx.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
    return found + [
        f"a row of {row[0]} refers to no {row[2]}" for row in tx.exec_driver_sql("PRAGMA foreign_key_check")
    ]


def meaning(exc: DBAPIError, path: Path) -> GenepoolError:
    """The error of ours that a failure of the database is."""
    code = getattr(exc.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageError("DISK_FULL", f"there is no room to write {path.name}", "free some space, then try again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable("BUSY", f"another process holds {path.name}", "try again in a minute")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StorageError(
            "DISK_FAILED",
            f"the disk refuses {path.name} ({exc.orig})",
            "look at the disk and its permissions, then try again",
        )
    return StorageError(
        "LEDGER_INCONSISTENT",
        f"{path.name} contradicts itself ({exc.orig})",
        "run genepool-server fsck, restore a backup",
    )
