"""What a ledger needs of a database; `sqlite` and `postgres` implement it, each with all that is particular to it."""

from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from genepool_protocol.wire.errors import GenepoolError


class Database(Protocol):
    """A place for the tables of one pool.

    Attributes:
        name: for sentences; without any secret.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def exists(self) -> bool:
        """Whether anything of a ledger is there.

        Raises:
            Unavailable: STORE_UNAVAILABLE.
        """
        ...

    def prepare(self) -> None:
        """Make it ready for `writer`, for a new ledger.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        ...

    def discard(self) -> None:
        """Take a ledger away that was made just now and that nobody has seen."""
        ...

    def writer(self) -> Engine:
        """The one connection that writes; while it is open, no other process gets one."""
        ...

    def readers(self) -> Engine:
        """Connections that can only read; each transaction sees one moment."""
        ...

    def onlookers(self) -> Engine:
        """The same, for a process beside the one that writes."""
        ...

    def version(self, tx: Connection) -> int:
        """Of the tables; 0 when there are none."""
        ...

    def set_version(self, tx: Connection, number: int) -> None:
        """Set the version, with the transaction."""
        ...

    def problems(self, tx: Connection) -> list[str]:
        """What the database itself finds wrong with its pages, indexes and references."""
        ...

    def meaning(self, exc: DBAPIError) -> GenepoolError:
        """The error of ours that a failure of the database is."""
        ...
