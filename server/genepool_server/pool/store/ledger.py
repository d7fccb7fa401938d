"""The ledger: transactions over the tables, one writer at a time, everything a pool knows beside the weights."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError, Unavailable
from genepool_server.pool.store import migration, schema
from genepool_server.pool.store.database import Database

_L = TypeVar("_L", bound="Ledger")


class Ledger:
    """A ledger of the schema's version; made by `create` and `open`.

    Args:
        database: where its tables are.
        writer: the only connection that writes; None for a reader beside a pool that is open.
        readers: connections that read.
    """

    def __init__(self, database: Database, writer: Engine | None, readers: Engine) -> None:
        self._database = database
        self._writer = writer
        self._readers = readers
        self._closed = False
        self.writing = threading.RLock()
        """Held during a write transaction; hold it longer to order more than the transaction."""

    @classmethod
    def create(cls, database: Database, fill: Callable[[Connection], None]) -> Self:
        """A ledger where there is none.

        Args:
            database: an empty one.
            fill: puts the first rows in, with the transaction that makes the tables.

        Raises:
            InvalidInput: PATH_NOT_EMPTY, there is a ledger.
            Unavailable: FOLDER_IN_USE, STORE_UNAVAILABLE.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        database.prepare()
        ledger = cls(database, database.writer(), database.readers())
        try:
            with ledger.write() as tx:
                _require_empty(database, tx)
                schema.metadata.create_all(tx, checkfirst=False)
                database.set_version(tx, schema.VERSION)
                fill(tx)
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def open(cls, database: Database) -> Self:
        """The ledger in a database, to read and write: for the process that holds the folder's lock.

        Raises:
            Unavailable: FOLDER_IN_USE, STORE_UNAVAILABLE.
            StorageError: LEDGER_VERSION, LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        return _checked(cls(database, database.writer(), database.readers()), migrated=True)

    @classmethod
    def look(cls, database: Database) -> Self:
        """The ledger in a database, to read beside the process that writes it.

        Raises:
            Unavailable: STORE_UNAVAILABLE.
            StorageError: LEDGER_VERSION, LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        return _checked(cls(database, None, database.onlookers()))

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
        """Of the tables; 0 when there are none.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED.
        """
        with self.write() if self._writer else self.read() as tx:  # the writer first: only it may recover the file
            return self._database.version(tx)

    def migrate(self, version: int) -> int:
        """Bring tables of an older version up to this one; answers which that is.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED; nothing was changed.
        """
        with self.write() as tx:
            migration.migrate(tx, version)
            self._database.set_version(tx, schema.VERSION)
        return schema.VERSION

    def problems(self, tx: Connection) -> list[str]:
        """What the database itself finds wrong."""
        return self._database.problems(tx)

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
            Unavailable: STORE_UNAVAILABLE, when the connection was lost: it may have been written nevertheless.
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
            raise self._database.meaning(exc) from exc
        except PoolTimeoutError as exc:
            raise Unavailable(
                "BUSY", "too many calls read the ledger at once", "try again in a minute", retry_seconds="2"
            ) from exc


def _require_empty(database: Database, tx: Connection) -> None:
    if database.version(tx):
        raise InvalidInput("PATH_NOT_EMPTY", f"{database.name} holds a ledger already", "choose an empty database")


def _checked(ledger: _L, *, migrated: bool = False) -> _L:
    try:
        version = ledger.version()
        if migrated and migration.OLDEST <= version < schema.VERSION:
            version = ledger.migrate(version)
    except BaseException:
        ledger.close()
        raise
    if version != schema.VERSION:
        ledger.close()
        raise StorageError(
            "LEDGER_VERSION",
            f"the ledger has tables of version {version}, this software reads version {schema.VERSION}",
            _remedy(version),
        )
    return ledger


def _remedy(version: int) -> str:
    if not version:
        return "an init was interrupted: remove the folder, init again"
    if migration.OLDEST <= version < schema.VERSION:
        return "open the pool once, for instance with genepool-server sites, which brings it up to this version"
    return "use the software that wrote it"
