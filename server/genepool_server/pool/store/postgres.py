"""All that is particular to PostgreSQL: connections, the lock of the one writer, and what its errors mean.

The writer's connection holds an advisory lock for as long as it lives, so a transaction that writes is never without
it: what loses the connection loses the right. Each process that takes the lock raises `epoch`; one that comes back
after an interruption and finds another number knows that somebody else has written meanwhile, and stops.
"""

import time
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError, Unavailable
from genepool_server.pool.store import schema

_READERS: Final = 8
"""Transactions that read at the same time."""

_WAIT: Final = 10.0
"""Seconds that one more waits for its turn."""

_PATIENCE: Final = 5.0
"""Seconds that the database may take to notice that a process which held the lock has died."""

_CONNECT_SECONDS: Final = 10
_SETTINGS: Final = (
    "SET synchronous_commit = on",
    "SET tcp_keepalives_idle = 10",  # a writer whose machine is gone gives the lock back within half a minute
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET idle_session_timeout = 0",  # who is idle keeps the lock
    "SET idle_in_transaction_session_timeout = 0",  # weights may be on their way to a bucket
)
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('genepool ledger ' || current_schema(), 0))"
_ADDRESS: Final = ("host", "hostaddr", "port", "dbname", "user")
_FIX: Final = "start it; compare `ledger` in genepool.toml and the PG... variables of the environment with it"


class Postgres:
    """The tables in one schema of a database. Implements `database.Database`.

    Args:
        url: a libpq URI without a password: that comes from PGPASSWORD, ~/.pgpass or a service file.

    Raises:
        InvalidInput: OPTION_INVALID.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._epoch: int | None = None
        check_url(url)

    @property
    def name(self) -> str:
        """See `Database`."""
        given = conninfo_to_dict(self._url)
        return "the database " + " ".join(f"{key}={given[key]}" for key in _ADDRESS if key in given)

    def exists(self) -> bool:
        """See `Database`."""
        engine = self.onlookers()
        try:
            with engine.begin() as tx:
                return self.version(tx) > 0
        except DBAPIError as exc:
            raise self.meaning(exc) from exc
        finally:
            engine.dispose()

    def prepare(self) -> None:
        """Nothing is needed beside the empty database."""

    def discard(self) -> None:
        """See `Database`."""
        engine = self.writer()
        with engine.begin() as tx:
            schema.metadata.drop_all(tx)
            tx.exec_driver_sql("DROP TABLE IF EXISTS ledger_version")
        engine.dispose()

    def writer(self) -> Engine:
        """See `Database`."""
        return self._engine(self._connect_writer, 1)

    def readers(self) -> Engine:
        """See `Database`."""
        return self._engine(self._connect_reader, _READERS)

    def onlookers(self) -> Engine:
        """See `Database`."""
        return self._engine(self._connect_reader, 1)

    def _engine(self, creator: Any, size: int) -> Engine:
        return create_engine(
            "postgresql+psycopg://",
            creator=creator,
            pool_size=size,
            max_overflow=0,
            pool_timeout=_WAIT,
            pool_pre_ping=True,
        )

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self._url, connect_timeout=_CONNECT_SECONDS, application_name="genepool-server")

    def _connect_reader(self) -> "psycopg.Connection[Any]":
        connection = self._connect()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # one moment
        connection.read_only = True
        return connection

    def _connect_writer(self) -> "psycopg.Connection[Any]":
        connection = self._connect()
        try:
            connection.autocommit = True
            for setting in _SETTINGS:
                connection.execute(setting)
            self._require_durable(connection)
            self._lock(connection)
            self._claim(connection)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_durable(self, connection: "psycopg.Connection[Any]") -> None:
        if _one(connection, "SHOW fsync") != "on":
            raise InvalidInput(
                "CONFIG_INVALID",
                f"{self.name} runs with fsync = off, so a power failure would lose what was acknowledged",
                "set fsync = on in postgresql.conf",
            )

    def _lock(self, connection: "psycopg.Connection[Any]") -> None:
        deadline = time.monotonic() + _PATIENCE
        while not _one(connection, _LOCK):
            if time.monotonic() > deadline:
                raise Unavailable(
                    "FOLDER_IN_USE",
                    f"another process writes to the ledger in {self.name}",
                    "stop it; two servers never share a ledger",
                )
            time.sleep(0.05)

    def _claim(self, connection: "psycopg.Connection[Any]") -> None:
        if not _one(connection, "SELECT to_regclass('ledger_version') IS NOT NULL"):
            return  # it is being made
        if self._epoch is None:
            self._epoch = _one(connection, "UPDATE ledger_version SET epoch = epoch + 1 RETURNING epoch")
        elif self._epoch != _one(connection, "SELECT epoch FROM ledger_version"):
            raise Unavailable(
                "FOLDER_IN_USE",
                f"another process has written to the ledger in {self.name} while this one had lost it",
                "start this server again, if the other one has ended",
            )

    def version(self, tx: Connection) -> int:
        """See `Database`."""
        if tx.exec_driver_sql("SELECT to_regclass('ledger_version')").scalar_one() is None:
            return 0
        return int(tx.exec_driver_sql("SELECT version FROM ledger_version").scalar_one())

    def set_version(self, tx: Connection, number: int) -> None:
        """See `Database`."""
        tx.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS ledger_version (id integer PRIMARY KEY CHECK (id = 1), "
            "version integer NOT NULL, epoch bigint NOT NULL)"
        )
        tx.exec_driver_sql(
            "INSERT INTO ledger_version VALUES (1, %s, 0) ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version",
            (number,),
        )

    def problems(self, tx: Connection) -> list[str]:
        """Rows that refer to none and indexes that are not valid; pages are checked as they are read."""
        problems = [
            f"the index {row[0]} is not valid"
            for row in tx.exec_driver_sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        ]
        for table in schema.metadata.sorted_tables:
            for key in table.foreign_keys:
                known = select(key.column)
                lost = select(func.count()).where(key.parent.is_not(None), key.parent.not_in(known))
                count = tx.execute(lost).scalar_one()
                if count:
                    problems.append(f"{count} rows of {table.name} refer to no {key.column.table.name}")
        return problems

    def meaning(self, exc: DBAPIError) -> GenepoolError:
        """See `Database`; the classes are those of SQLSTATE."""
        state = str(getattr(exc.orig, "sqlstate", None) or "")
        if isinstance(exc.orig, psycopg.DataError):  # a text of a stranger's that is none for PostgreSQL, such as NUL
            return InvalidInput("FIELD_MALFORMED", "a text holds what the ledger cannot keep", "leave it out")
        what = str(exc.orig).strip().split("\n", 1)[0]
        if state == "53100":
            return StorageError("DISK_FULL", f"there is no room in {self.name}", "free some space, then try again")
        lost = exc.connection_invalidated or state[:2] in ("", "08", "28", "3D") or state.startswith("57P")
        if lost and isinstance(exc.orig, psycopg.OperationalError):
            return Unavailable("STORE_UNAVAILABLE", f"{self.name} does not answer: {what}", _FIX)
        if state[:2] in ("40", "53", "55", "57"):
            return Unavailable("BUSY", f"{self.name} is busy: {what}", "try again in a minute", retry_seconds="5")
        if state[:2] == "58" or state in ("25006", "42501"):
            return StorageError(
                "DISK_FAILED", f"{self.name} refuses: {what}", "look at its log, its disk and the rights of its user"
            )
        return StorageError(
            "LEDGER_INCONSISTENT",
            f"{self.name} contradicts itself ({what})",
            "run genepool-server fsck, restore a backup",
        )


def check_url(url: str) -> None:
    """Refuse what libpq does not understand, and passwords.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        given = None  # its text repeats the address
    if given is None or not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(
            "OPTION_INVALID",
            "the address of the ledger is not one of PostgreSQL",
            "write for instance postgresql://genepool@db.example/pool?sslmode=verify-full",
        )
    if given.get("password") or given.get("sslpassword"):
        raise InvalidInput(
            "OPTION_INVALID",
            "the address of the ledger holds a password",
            "leave it out, and put it into PGPASSWORD or ~/.pgpass",
        )


def _one(connection: "psycopg.Connection[Any]", statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]
