"""A backup of a pool: everything but its private keys, of one moment, while the pool goes on.

    OUT/backup.json      what it is: pool, log, and the SHA-256 of every other file outside `sealed`
    OUT/ledger.sqlite    the ledger's rows, whatever database they came from
    OUT/log.size         what was published
    OUT/sealed/          sealed copies of the weights; their keys are in the other folder
    OUT/campaigns/       records of campaigns, and their nodes' public keys
    OUT/...              blueprints, tiles, settings, anchors, trust root and signers, as they are in the pool's folder
    KEYS/                the folder `keys` with the data keys of that moment

The operators' keys in `offline` are in neither. The two belong into different hands: together they are the pool. A
withdrawal destroys the pool's own data keys; those in a backup end when that backup of the keys is thrown away.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from sqlalchemy import Connection, insert, select

from genepool_protocol.wire.documents import Document
from genepool_protocol.wire.errors import InvalidInput, StorageError
from genepool_server import durable
from genepool_server.pool.store import schema
from genepool_server.pool.store.database import Database
from genepool_server.pool.store.ledger import Ledger

MANIFEST: Final = "backup.json"
SEALED: Final = "sealed"

_ROWS: Final = 500
"""Rows that are copied at a time."""


class BackupManifest(Document):
    """What a backup says of itself."""

    schema_: Literal["genepool.backup/v1"] = Field(default="genepool.backup/v1", alias="schema")
    pool: str
    log_size: int
    files: dict[str, str]


def copy_rows(source: Connection, database: Database) -> None:
    """A new ledger in a database, with the rows that a transaction of another one sees.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
        Unavailable: FOLDER_IN_USE, STORE_UNAVAILABLE.
        StorageError: DISK_FULL, DISK_FAILED or LEDGER_INCONSISTENT.
    """

    def fill(tx: Connection) -> None:
        for table in schema.metadata.sorted_tables:
            result = source.execute(select(table), execution_options={"yield_per": _ROWS})
            for rows in result.mappings().partitions():
                tx.execute(insert(table), [dict(row) for row in rows])

    Ledger.create(database, fill).close()


def copy_tree(source: Path, target: Path, left_out: frozenset[str]) -> None:
    """Plain files with their modes; not those whose names start with a dot, which are half written.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with durable.translated(source):
        # the trust root's timestamp names files that are there before it and stay: copied first, it is of one moment
        entries = sorted(os.scandir(source), key=lambda entry: (entry.name != "timestamp.json", entry.name))
    for entry in entries:
        if entry.name in left_out or entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            durable.mkdir(target / entry.name)
            copy_tree(path, target / entry.name, frozenset())
        elif entry.is_file(follow_symlinks=False):
            with durable.translated(path):
                raw, mode = path.read_bytes(), path.stat().st_mode & 0o777
            durable.write(target / entry.name, raw, mode)


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A private folder that becomes `target` at the end of the block, or is gone after an error.

    Raises:
        InvalidInput: PATH_NOT_EMPTY, there is something.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link is kept as it is
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput("PATH_NOT_EMPTY", f"{target} exists and is not an empty folder", "choose another folder")
    durable.parents(target)
    with durable.translated(target):
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield building
        with durable.translated(target):
            building.rename(target)
        try:
            durable.sync(target)
        except StorageError:
            target.rename(building)  # nobody may find what was not promised
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
