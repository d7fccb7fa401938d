"""The ledger: its connections, and what their failures mean."""

import pytest

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool import site_rows, sqlite
from genepool_server.pool.ledger import Ledger


def reason_of(call, *args):
    with pytest.raises(GenepoolError) as caught:
        call(*args)
    return caught.value.reason


@pytest.fixture
def ledger(tmp_path):
    with Ledger.create(tmp_path / "ledger.sqlite", site_rows.Identity("pool.test/log", "key", b"k")) as ledger:
        yield ledger


def read_value(ledger, statement):
    with ledger.read() as tx:
        return tx.exec_driver_sql(statement).scalar_one()


def run(context, statement):
    with context as tx:
        tx.exec_driver_sql(statement)


def test_what_was_acknowledged_survives_a_power_failure(ledger):
    with ledger.write() as tx:
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2, "FULL"
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert tx.exec_driver_sql("PRAGMA secure_delete").scalar_one() == 1
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_readers_can_neither_write_nor_checkpoint(ledger):
    assert read_value(ledger, "PRAGMA wal_autocheckpoint") == 0
    assert reason_of(run, ledger.read(), "INSERT INTO site VALUES ('a', 'INVITED')") == "DISK_FAILED"


def test_an_onlooker_has_no_way_to_write(ledger, tmp_path):
    with Ledger.look(tmp_path / "ledger.sqlite") as onlooker:
        assert reason_of(run, onlooker.write(), "SELECT 1") == "INTERNAL"
        assert reason_of(run, onlooker.read(), "DELETE FROM identity") == "DISK_FAILED"
        assert read_value(onlooker, "SELECT origin FROM identity") == "pool.test/log"


def test_a_transaction_that_fails_leaves_nothing(ledger):
    def invite_twice():
        with ledger.write() as tx:
            site_rows.add_site(tx, "a", "INVITED")
            site_rows.add_site(tx, "a", "INVITED")

    assert reason_of(invite_twice) == "LEDGER_INCONSISTENT"
    assert read_value(ledger, "SELECT count(*) FROM site") == 0


def test_a_reader_sees_one_moment(ledger):
    with ledger.read() as tx:
        assert site_rows.sites(tx) == []
        with ledger.write() as other:
            site_rows.add_site(other, "a", "INVITED")
        assert site_rows.sites(tx) == []
    assert read_value(ledger, "SELECT count(*) FROM site") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO invite (invite_id, site, created) VALUES ('i', 'nobody', 'now')",
        "INSERT INTO site VALUES ('a', NULL)",
        "INSERT INTO identity VALUES (2, 'o', 'v', x'00')",
        "INSERT INTO checkpoint VALUES ('one', 'note')",
        "SELECT * FROM nothing",
    ],
)
def test_rows_that_contradict_the_schema_are_refused(ledger, statement):
    assert reason_of(run, ledger.write(), statement) == "LEDGER_INCONSISTENT"


def test_readers_beyond_the_most_are_told_to_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_READERS", 1)
    monkeypatch.setattr(sqlite, "_WAIT", 0.05)
    with Ledger.create(tmp_path / "ledger.sqlite", site_rows.Identity("pool.test/log", "key", b"k")) as ledger:
        with ledger.read():
            assert reason_of(read_value, ledger, "SELECT 1") == "BUSY"
        assert read_value(ledger, "SELECT 1") == 1


def test_a_writer_of_another_process_makes_it_busy(ledger, tmp_path):
    other = sqlite.writer(tmp_path / "ledger.sqlite")
    with ledger.write() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout=10")
    with other.begin():
        assert reason_of(run, ledger.write(), "SELECT 1") == "BUSY"
    other.dispose()
