"""What every ledger must do, on SQLite and on PostgreSQL: its connections, and what their failures mean."""

from functools import partial

import psycopg
import pytest

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.rows import site_rows, sketch_rows
from genepool_server.pool.store import postgres, schema, sqlite
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.postgres import Postgres
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.records import PoolIdentity
from tests.support import stores
from tests.support.refusals import reason_of

FILL = partial(site_rows.put_identity, pool=PoolIdentity("pool.test/log", "key", b"k"))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    return Sqlite(tmp_path / "ledger.sqlite") if request.param == "sqlite" else Postgres(stores.database())


@pytest.fixture
def ledger(database):
    with Ledger.create(database, FILL) as ledger:
        yield ledger


@pytest.fixture
def server():
    """A ledger of PostgreSQL."""
    url = stores.database()
    with Ledger.create(Postgres(url), FILL) as ledger:
        yield ledger, url


def read_value(ledger, statement):
    with ledger.read() as tx:
        return tx.exec_driver_sql(statement).scalar_one()


def run(context, statement):
    with context as tx:
        tx.exec_driver_sql(statement)


def add(ledger, name):
    with ledger.write() as tx:
        site_rows.add_site(tx, name, "INVITED")


# -- both --------------------------------------------------------------------------------------------------------------


def test_a_ledger_is_there_once_it_was_made(database):
    assert not database.exists()
    Ledger.create(database, FILL).close()
    assert database.exists()
    assert reason_of(Ledger.create, database, FILL) == "PATH_NOT_EMPTY"
    with Ledger.open(database) as ledger:
        assert read_value(ledger, "SELECT origin FROM identity") == "pool.test/log"
    database.discard()
    assert not database.exists()


def test_a_creation_that_fails_leaves_no_ledger(database):
    def fails(tx):
        raise GenepoolError("INTERNAL", "no")

    assert reason_of(Ledger.create, database, fails) == "INTERNAL"
    assert reason_of(Ledger.open, database) == "LEDGER_VERSION"


def test_tables_of_another_version_are_refused(database):
    Ledger.create(database, FILL).close()
    engine = database.writer()
    with engine.begin() as tx:
        if isinstance(database, Postgres):
            tx.exec_driver_sql("UPDATE ledger_version SET version = 99")
        else:
            database.set_version(tx, 99)
    engine.dispose()
    assert reason_of(Ledger.open, database) == "LEDGER_VERSION"
    assert reason_of(Ledger.look, database) == "LEDGER_VERSION"


def test_tables_of_the_version_before_are_brought_up_when_the_ledger_is_opened(database):
    Ledger.create(database, FILL).close()
    engine = database.writer()
    with engine.begin() as tx:
        stores.make_older(tx, database)
    engine.dispose()
    assert reason_of(Ledger.look, database) == "LEDGER_VERSION"
    with Ledger.open(database) as ledger, ledger.read() as tx:
        assert (database.version(tx), sketch_rows.raw(tx)) == (schema.VERSION, [])
    with Ledger.look(database) as ledger:
        assert read_value(ledger, "SELECT origin FROM identity") == "pool.test/log"


def test_readers_cannot_write(ledger):
    assert reason_of(run, ledger.read(), "INSERT INTO site VALUES ('a', 'INVITED')") == "DISK_FAILED"


def test_an_onlooker_has_no_way_to_write(ledger, database):
    with Ledger.look(database) as onlooker:
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
        add(ledger, "a")
        assert site_rows.sites(tx) == []
    assert read_value(ledger, "SELECT count(*) FROM site") == 1


def test_names_are_sorted_by_their_bytes(ledger):
    names = ["B", "_", "a", "a-b", "a_b", "ab", "\u00e4"]
    for name in reversed(names):
        add(ledger, name)
    with ledger.read() as tx:
        assert [site.name for site in site_rows.sites(tx)] == names


def test_numbers_have_64_bits(ledger):
    with ledger.write() as tx:
        tx.exec_driver_sql("INSERT INTO checkpoint VALUES (9007199254740993, 'note')")
    assert read_value(ledger, "SELECT size FROM checkpoint") == 9007199254740993


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO invite (invite_id, site, created, expires) VALUES ('i', 'nobody', 'now', 'then')",
        "INSERT INTO site VALUES ('a', NULL)",
        "INSERT INTO identity (id, origin, log_vkey, nonce_key) SELECT 2, origin, log_vkey, nonce_key FROM identity",
        "SELECT * FROM nothing",
    ],
)
def test_rows_that_contradict_the_schema_are_refused(ledger, statement):
    assert reason_of(run, ledger.write(), statement) == "LEDGER_INCONSISTENT"


def test_a_value_of_another_type_is_refused(ledger):
    reason = reason_of(run, ledger.write(), "INSERT INTO checkpoint VALUES ('one', 'note')")
    assert reason in ("LEDGER_INCONSISTENT", "FIELD_MALFORMED")  # PostgreSQL tells it from a broken ledger


def test_a_text_that_postgresql_cannot_keep_is_the_callers_fault_and_no_failure(server):
    assert reason_of(add, server[0], "a\0b") == "FIELD_MALFORMED"


def test_readers_beyond_the_most_are_told_to_wait(database, monkeypatch):
    for module in (sqlite, postgres):
        monkeypatch.setattr(module, "_READERS", 1)
        monkeypatch.setattr(module, "_WAIT", 0.05)
    with Ledger.create(database, FILL) as ledger:
        with ledger.read():
            assert reason_of(read_value, ledger, "SELECT 1") == "BUSY"
        assert read_value(ledger, "SELECT 1") == 1


def test_references_that_lead_nowhere_are_found(ledger, database, tmp_path):
    with ledger.read() as tx:
        assert ledger.problems(tx) == []
    found = stores.Storage(database._url) if isinstance(database, Postgres) else stores.HERE
    other = stores.raw(found, tmp_path)
    other.execute("INSERT INTO site_role VALUES ('nobody', 'auditor')")
    other.close()
    with ledger.read() as tx:
        (problem,) = ledger.problems(tx)
    assert "site" in problem


# -- SQLite ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    with Ledger.create(Sqlite(tmp_path / "ledger.sqlite"), FILL) as ledger:
        yield ledger


def test_what_was_acknowledged_survives_a_power_failure(file):
    with file.write() as tx:
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2, "FULL"
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert tx.exec_driver_sql("PRAGMA secure_delete").scalar_one() == 1
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_readers_do_not_checkpoint(file):
    assert read_value(file, "PRAGMA wal_autocheckpoint") == 0


def test_a_writer_of_another_process_makes_it_busy(file, tmp_path):
    other = Sqlite(tmp_path / "ledger.sqlite").writer()
    with file.write() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout=10")
    with other.begin():
        assert reason_of(run, file.write(), "SELECT 1") == "BUSY"
    other.dispose()


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def test_what_postgresql_acknowledged_survives_a_power_failure(server):
    ledger, url = server
    with ledger.write() as tx:
        assert tx.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
        try:
            ledger.close()
            while admin.execute("SHOW fsync").fetchone() != ("off",):
                pass
            assert reason_of(Ledger.open, Postgres(url)) == "CONFIG_INVALID"
        finally:
            admin.execute("ALTER SYSTEM RESET fsync")
            admin.execute("SELECT pg_reload_conf()")


def test_attack_52_two_servers_never_write_to_one_database(server, monkeypatch):
    ledger, url = server
    monkeypatch.setattr(postgres, "_PATIENCE", 0.2)
    assert reason_of(Ledger.open, Postgres(url)) == "FOLDER_IN_USE"
    add(ledger, "a")
    ledger.close()
    with Ledger.open(Postgres(url)) as other:
        assert read_value(other, "SELECT count(*) FROM site") == 1


def end_connections(url):
    """As when the network fails, or the database is started again."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_lost_connection_is_made_again_and_the_lock_with_it(server, monkeypatch):
    ledger, url = server
    monkeypatch.setattr(postgres, "_PATIENCE", 0.2)
    add(ledger, "a")
    end_connections(url)
    add(ledger, "b")
    assert read_value(ledger, "SELECT count(*) FROM site") == 2
    assert reason_of(Ledger.open, Postgres(url)) == "FOLDER_IN_USE"


def test_a_connection_that_is_lost_in_a_transaction_is_said_so(server):
    ledger, url = server

    def interrupted():
        with ledger.write() as tx:
            site_rows.add_site(tx, "a", "INVITED")
            end_connections(url)

    assert reason_of(interrupted) == "STORE_UNAVAILABLE"
    add(ledger, "a")
    assert read_value(ledger, "SELECT count(*) FROM site") == 1


def test_a_server_that_lost_the_ledger_to_another_one_writes_no_more(server):
    ledger, url = server
    ledger.close()
    with Ledger.open(Postgres(url)) as first:
        add(first, "a")
        end_connections(url)
        with Ledger.open(Postgres(url)) as second:
            add(second, "b")
        assert reason_of(add, first, "c") == "FOLDER_IN_USE"
    with Ledger.open(Postgres(url)) as third:
        assert read_value(third, "SELECT count(*) FROM site") == 2


def test_a_database_that_does_not_answer_is_said_so(tmp_path):
    assert reason_of(Ledger.open, Postgres(f"postgresql://nobody@/pool?host={tmp_path}")) == "STORE_UNAVAILABLE"
    assert reason_of(Postgres(f"postgresql://nobody@/pool?host={tmp_path}").exists) == "STORE_UNAVAILABLE"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://pool:s3cret@db/pool",
        "postgresql://pool@db/pool?password=s3cret",
        "host=db password=s3cret",
        "sqlite:///s3cret",
        "postgresql://pool@db/pool?nonsense=s3cret",
    ],
)
def test_an_address_with_a_password_or_of_another_kind_is_refused_without_repeating_it(url):
    with pytest.raises(GenepoolError) as caught:
        Postgres(url)
    assert caught.value.reason == "OPTION_INVALID"
    assert "s3cret" not in caught.value.diagnostics()
