"""The ledger: transactions over the tables, one writer at a time, everything a pool knows beside the weights."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from genepool_protocol.wire.errors import GenepoolError, StorageError, Unavailable
from genepool_server.pool import schema, site_rows, sqlite
from genepool_server.pool.site_rows import Identity

_L = TypeVar("_L", bound="Ledger")


class Ledger:
    """A ledger of the schema's version; made by `create` and `open`.

    Args:
        path: the file.
        writer: the only connection that writes; None for a reader beside a pool that is open.
        readers: connections that read.
    """

    def __init__(self, path: Path, writer: Engine | None, readers: Engine) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._closed = False
        self.writing = threading.RLock()
        """Held during a write transaction; hold it longer to order more than the transaction."""

    @classmethod
    def create(cls, path: Path, identity: Identity) -> Self:
        """An empty ledger in a new file.

        Args:
            path: the file.
            identity: whose ledger it is.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        sqlite.touch(path)
        ledger = cls(path, sqlite.writer(path), sqlite.readers(path))
        with ledger.write() as tx:
            schema.metadata.create_all(tx)
            site_rows.put_identity(tx, identity)
            sqlite.set_version(tx, schema.VERSION)
        return ledger

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger in a file, to read and write: for the process that holds the folder's lock.

        Raises:
            StorageError: LEDGER_VERSION, LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        return _checked(cls(path, sqlite.writer(path), sqlite.readers(path)))

    @classmethod
    def look(cls, path: Path) -> Self:
        """The ledger in a file, to read beside the process that writes it.

        Raises:
            StorageError: LEDGER_VERSION, LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        return _checked(cls(path, None, sqlite.onlookers(path)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for a transaction that writes, then close every connection."""
        with self.writing:
            self._closed = True
            self._readers.dispose()
            if self._writer is not None:
                self._writer.dispose()  # the last one: it checkpoints

    def version(self) -> int:
        """Of the tables; 0 for a file without any.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        with self.write() if self._writer else self.read() as tx:  # the writer first: only it may recover the file
            return sqlite.version(tx)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
            Unavailable: BUSY.
        """
        with self._translated(), self._readers.begin() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The transaction that writes; durable when the block has ended.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED; nothing was written.
        """
        if self._writer is None:
            raise GenepoolError("INTERNAL", "a ledger that was opened to look is asked to write")
        with self.writing, self._translated(), self._writer.begin() as tx:
            yield tx

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise GenepoolError("INTERNAL", "the pool is closed")
        try:
            yield
        except DBAPIError as exc:
            raise sqlite.meaning(exc, self._path) from exc
        except PoolTimeoutError as exc:
            raise Unavailable("BUSY", "too many calls read the ledger at once", "try again in a minute") from exc


def _checked(ledger: _L) -> _L:
    try:
        found = ledger.version()
    except BaseException:
        ledger.close()
        raise
    if found != schema.VERSION:
        ledger.close()
        raise StorageError(
            "LEDGER_VERSION",
            f"the ledger has tables of version {found}, this software reads version {schema.VERSION}",
            "use the software that wrote it" if found else "an init was interrupted: remove the folder, init again",
        )
    return ledger
