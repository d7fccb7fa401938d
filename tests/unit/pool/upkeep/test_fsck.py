"""fsck finds what contradicts itself, wherever it was changed."""

import shutil
import sqlite3

import numpy as np
import pytest

from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import examine, fsck
from tests.support import sites as c
from tests.support.flips import columns, flipped

TABLES = ("site", "signing_key", "leaf", "checkpoint", "contribution")


def reasons(folder):
    return {problem.reason for problem in fsck(folder)}


@pytest.fixture(scope="module")
def filled(template, tmp_path_factory):
    """A folder with three contributions."""
    folder, *sites = template
    target = tmp_path_factory.mktemp("filled") / "pool"
    shutil.copytree(folder, target)
    rng = np.random.default_rng(3)
    with OpenPool.open(target) as pool:
        for site in (sites[0], sites[1], sites[0]):
            c.contribute(pool, site, rng)
    return target


@pytest.fixture
def full(place, filled):
    place.pool.close()
    shutil.rmtree(place.folder)
    shutil.copytree(filled, place.folder)
    place.pool = OpenPool.open(place.folder)
    return place


def test_a_sound_pool_is_counted(full):
    report = examine(full.folder)
    assert (report.problems, report.notes, report.contributions, report.log_size) == ([], [], 3, 10)
    full.pool.close()
    assert examine(full.folder) == report


def edit(place, statement, *values):
    """Change the ledger behind the pool's back."""
    place.pool.close()
    connection = sqlite3.connect(place.folder / "ledger.sqlite")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("table", "column"), list(columns(TABLES)))
def test_a_flipped_bit_in_any_column_is_found(full, table, column):
    full.pool.close()
    connection = sqlite3.connect(full.folder / "ledger.sqlite")
    rowid, value = connection.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone()
    connection.close()
    edit(full, f"UPDATE {table} SET {column} = ? WHERE rowid = ?", flipped(value), rowid)
    assert fsck(full.folder)


@pytest.mark.parametrize("column", ["origin", "log_vkey"])
def test_another_identity_is_found(full, column):
    edit(full, f"UPDATE identity SET {column} = 'other.test/log+0+A'")
    assert reasons(full.folder) & {"KEY_MALFORMED", "LEDGER_INCONSISTENT"}


def test_a_ledger_without_identity_is_found(full):
    edit(full, "DELETE FROM identity")
    assert reasons(full.folder) == {"LEDGER_INCONSISTENT"}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM contribution WHERE log_index = 6",
        "DELETE FROM leaf WHERE log_index = 2",
        "DELETE FROM leaf WHERE log_index = 0",
        "DELETE FROM checkpoint WHERE size = 2",
        "DELETE FROM signing_key WHERE site = 'site-b'",
        "UPDATE contribution SET site = 'site-b' WHERE log_index = 8",
        "UPDATE contribution SET receipt = (SELECT receipt FROM contribution LIMIT 1) WHERE log_index = 8",
        "UPDATE contribution SET manifest = (SELECT manifest FROM contribution LIMIT 1) WHERE log_index = 8",
        "UPDATE signing_key SET pem = (SELECT pem FROM signing_key WHERE site = 'site-a')",
        "UPDATE tls_key SET pem = (SELECT pem FROM tls_key WHERE site = 'site-a')",
        "UPDATE tls_key SET certificate = 'none'",
        "UPDATE tls_key SET site = 'site-b'",
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 2)",
        "INSERT INTO checkpoint SELECT 11, note FROM checkpoint WHERE size = 10",
        "DELETE FROM site WHERE name = 'site-b'",
        "DELETE FROM leaf WHERE log_index = 9",
        "UPDATE leaf SET payload = (SELECT payload FROM leaf WHERE log_index = 0) WHERE log_index = 2",
    ],
)
def test_rows_that_are_missing_swapped_or_too_many_are_found(full, statement):
    edit(full, statement)
    assert fsck(full.folder)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("site", "state", "SUSPENDED"),
        ("contribution", "state", "REJECTED"),
        ("contribution", "state", "QUARANTINED"),
        ("contribution", "state", "WITHDRAWN"),
    ],
)
def test_a_pool_that_rewrites_a_decision_is_found(full, table, column, value):
    edit(full, f"UPDATE {table} SET {column} = ? WHERE rowid = 1", value)
    assert reasons(full.folder) == {"LEDGER_INCONSISTENT"}


def test_a_flipped_byte_a_shorter_and_a_missing_blob_are_found(full):
    for change in (
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
    ):
        path = full.pool.contributions.all()[1].path
        good = path.read_bytes()
        change(path)
        assert reasons(full.folder) == {"BLOB_CORRUPT"}
        path.write_bytes(good)
    assert fsck(full.folder) == []


def test_a_missing_key_is_found(full):
    (full.folder / "keys" / "release.pem").unlink()
    assert reasons(full.folder) == {"FILE_MISSING"}


def test_a_damaged_page_is_found(full):
    full.pool.close()
    path = full.folder / "ledger.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = bytes(4096)
    path.write_bytes(data)
    assert fsck(full.folder)


def test_a_blob_without_contribution_is_a_note(full):
    orphan = full.folder / "blobs" / "ab" / ("ab" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"bytes")
    report = examine(full.folder)
    assert (report.problems, len(report.notes)) == ([], 1)


def test_it_reads_only(full):
    full.pool.close()
    before = (full.folder / "ledger.sqlite").read_bytes()
    fsck(full.folder)
    assert (full.folder / "ledger.sqlite").read_bytes() == before
    assert c.join(full.reopen(), "site-c").name == "site-c"
