"""The life of a pool, wherever its ledger and its weights are."""

import json
import shutil
from contextlib import closing

import numpy as np
import obstore
import pytest

from genepool_protocol.trust import checkpoint, envelope, events, receipt, witness
from genepool_protocol.trust.keys import WitnessSigner
from genepool_protocol.trust.witness import WitnessPolicy
from genepool_protocol.wire.errors import GenepoolError
from genepool_server import app, config
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store import postgres
from genepool_server.pool.store.storage import Storage
from genepool_server.pool.upkeep.fsck import examine, fsck
from tests.support import sites as c
from tests.support import stores
from tests.support.flips import columns, flipped
from tests.support.refusals import reason_of
from tests.support.server import new_pool


def test_a_pool_is_sound_also_when_it_is_opened_again_and_goes_on(place):
    folder, storage, a, _ = place
    report = examine(folder, storage)
    assert (report.problems, report.notes, report.contributions) == ([], [], 3)
    with OpenPool.open(folder, storage) as pool:
        assert [one.state for one in pool.contributions.all()] == ["ACTIVE", "WITHDRAWN", "ACTIVE"]
        assert pool.upkeep.gather() == 2
        done = c.contribute(pool, a, np.random.default_rng(4))
        bundle = envelope.parse(done.receipt)
        receipt.verify(bundle, envelope.verify(bundle, a.key.public), pool.log.keys)
        assert pool.contributions.intake.commit(done.contribution_id, c.NOW) == done
        assert fsck(folder, storage) == [], "it reads beside a pool that is open"
        for found in c.active(pool):
            assert found.path.stat().st_size == found.size_bytes
    assert examine(folder, storage).log_size == report.log_size + 2


def test_figures_of_the_ledger_are_those_of_what_it_holds(place):
    folder, storage, *_ = place
    with OpenPool.open(folder, storage) as pool:
        everything = pool.contributions.all()
        for state, (count, total) in pool.contributions.totals().items():
            members = [one for one in everything if one.state == state]
            assert (count, total) == (len(members), sum(one.size_bytes for one in members))
        assert sum(count for count, _ in pool.contributions.totals().values()) == len(everything)
        assert pool.contributions.unreviewed_count() == len(pool.contributions.unreviewed())
        states = [site.state for site in pool.sites.all()]
        assert pool.sites.counts() == {state: states.count(state) for state in states}
        assert pool.heads.reached() == {}
    known, idle = WitnessSigner.generate("witness.test/one"), WitnessSigner.generate("witness.test/two")
    policy = WitnessPolicy((known.public, idle.public), 1)
    with OpenPool.open(folder, storage, witnesses=policy) as pool:
        head = checkpoint.verify(pool.log.checkpoint, pool.log.keys)
        pool.heads.add(witness.joined(head.note, [witness.cosign(head, known, 1)]))
        assert pool.heads.reached() == {"witness.test/one": pool.log.size, "witness.test/two": 0}


def test_what_is_withdrawn_is_gone_from_every_place(place):
    folder, storage, *_ = place
    with OpenPool.open(folder, storage) as pool:
        gone = pool.contributions.all()[0]
        pool.upkeep.gather()
        assert pool.contributions.withdraw_as_operator(gone.contribution_id, "").erased
        assert not gone.path.exists()
        assert not pool.contributions.blobs.holds(gone.sha256)
    assert fsck(folder, storage) == []
    if storage.blobs:
        stored = [one["path"] for page in obstore.list(stores.bucket(storage.blobs)) for one in page]
        assert not any(gone.sha256 in path for path in stored)


def test_a_reason_that_a_database_cannot_keep_is_refused_and_nothing_is_withdrawn(place):
    folder, storage, a, _ = place
    with OpenPool.open(folder, storage) as pool:
        found = pool.contributions.all()[0]
        event = events.Withdrawal.model_construct(  # what our own model would refuse, a site can sign all the same
            pool=pool.origin,
            time="2026-07-01T12:00:00Z",
            contribution_id=found.contribution_id,
            sha256=found.sha256,
            reason="no\0consent",
        )
        assert (
            reason_of(pool.contributions.withdrawals.withdraw, envelope.sign_statement(a.key, event.payload()))
            == "STATEMENT_MALFORMED"
        )
        assert pool.contributions.all()[0].state == "ACTIVE"
    assert fsck(folder, storage) == []


@pytest.mark.parametrize("which", ["ledger", "blobs"])
def test_either_part_can_be_elsewhere_alone(tmp_path, which):
    storage = Storage(stores.database()) if which == "ledger" else Storage(blobs=stores.prefix())
    folder, rng = c.make_pool(tmp_path, storage), np.random.default_rng(6)
    with OpenPool.open(folder, storage) as pool:
        site = c.join(pool, "site-a")
        first, second = (c.contribute(pool, site, rng) for _ in range(2))
        assert pool.contributions.withdraw_as_operator(first.contribution_id, "").erased
    with OpenPool.open(folder, storage) as pool:
        assert pool.contributions.intake.commit(second.contribution_id, c.NOW) == second
        assert pool.upkeep.gather() == 1
    report = examine(folder, storage)
    assert (report.problems, report.notes, report.contributions) == ([], [], 2)
    # settings that name another place find nothing there
    assert reason_of(OpenPool.open, folder) == {"ledger": "POOL_UNKNOWN", "blobs": "CONFIG_INVALID"}[which]
    assert fsck(folder, storage) == []


TABLES = ("site", "signing_key", "leaf", "checkpoint", "contribution", "withdrawal")


@pytest.fixture(scope="session")
def flipping(template, tmp_path_factory):
    """A copy whose columns are flipped and flipped back."""
    made, storage, *_ = template
    folder = tmp_path_factory.mktemp("flipping") / "pool"
    return folder, stores.copied(storage, made, folder)


@pytest.mark.parametrize(("table", "column"), list(columns(TABLES)))
def test_attack_56_a_flipped_bit_in_any_column_is_found(flipping, table, column):
    folder, storage = flipping
    mark, row = ("%s", "ctid") if storage.ledger else ("?", "rowid")
    with closing(stores.raw(storage, folder)) as connection:
        ask = f"SELECT {row}, {column} FROM {table} ORDER BY {row} DESC LIMIT 1"
        which, value = connection.execute(ask).fetchone()
        change = f"UPDATE {table} SET {column} = {mark} WHERE {column} = {mark}"
        connection.execute(f"{change} AND {row} = {mark}", (flipped(value), value, which))
        assert fsck(folder, storage)
        connection.execute(change, (value, flipped(value)))
    assert fsck(folder, storage) == []


def test_a_damaged_a_missing_and_a_superfluous_file_are_found(place):
    folder, storage, *_ = place
    with OpenPool.open(folder, storage) as pool:
        found = pool.contributions.all()[2]
        gone = pool.contributions.all()[1]
        put, take = hands(pool, storage)
        good = (
            found.path.read_bytes()
            if found.path.exists()
            else pool.contributions.blobs.local(found.sha256).read_bytes()
        )
        for wrong in (good[:-1] + b"x", good[:-1]):
            put(found.sha256, wrong)
            assert {one.reason for one in fsck(folder, storage)} == {"BLOB_CORRUPT"}
        take(found.sha256)
        assert {one.reason for one in fsck(folder, storage)} == {"BLOB_CORRUPT"}
        put(found.sha256, good)
        assert fsck(folder, storage) == []
        put("ab" * 32, b"nobody's")
        report = examine(folder, storage)
        assert (report.problems, len(report.notes)) == ([], 1)
        put(gone.sha256, b"it was erased")
        assert {one.reason for one in fsck(folder, storage)} == {"BLOB_CORRUPT"}


def hands(pool, storage):
    """Change the store behind the pool's back."""
    if storage.blobs:
        place = stores.bucket(storage.blobs)
        return (
            lambda sha256, data: obstore.put(place, f"{sha256[:2]}/{sha256}", data),
            lambda sha256: obstore.delete(place, f"{sha256[:2]}/{sha256}"),
        )

    def put(sha256, data):
        pool.contributions.blobs.path(sha256).parent.mkdir(exist_ok=True)
        pool.contributions.blobs.path(sha256).write_bytes(data)

    return put, lambda sha256: pool.contributions.blobs.path(sha256).unlink()


def test_attack_51_a_restored_older_ledger_refuses_to_start_and_the_newest_one_starts(place, tmp_path):
    folder, storage, _, b = place
    older = set_aside(storage, folder, tmp_path / "older")
    with OpenPool.open(folder, storage) as pool:
        newest = c.contribute(pool, b, np.random.default_rng(5))
    newer = set_aside(storage, folder, tmp_path / "newer")
    back = put_back(older, storage, folder)
    assert reason_of(OpenPool.open, folder, back) == "LEDGER_INCONSISTENT"
    assert "LEDGER_INCONSISTENT" in {problem.reason for problem in fsck(folder, back)}
    again = put_back(newer, storage, folder)
    assert fsck(folder, again) == []
    with OpenPool.open(folder, again) as pool:
        assert pool.contributions.intake.commit(newest.contribution_id, c.NOW) == newest


def set_aside(storage, folder, target):
    if storage.ledger:
        return stores.database(storage.ledger)
    return shutil.copy(folder / "ledger.sqlite", target)


def put_back(saved, storage, folder):
    if storage.ledger:
        return Storage(stores.database(saved), storage.blobs)
    shutil.copy(saved, folder / "ledger.sqlite")
    return storage


def test_attack_52_a_pool_is_open_once(place, tmp_path, monkeypatch):
    folder, storage, *_ = place
    monkeypatch.setattr(postgres, "_PATIENCE", 0.2)
    with OpenPool.open(folder, storage) as pool:
        assert reason_of(OpenPool.open, folder, storage) == "FOLDER_IN_USE"
        if storage.ledger:  # also from a copy of the folder, as on another machine
            shutil.copytree(folder, tmp_path / "other")
            assert reason_of(OpenPool.open, tmp_path / "other", storage) == "FOLDER_IN_USE"
        assert len(pool.contributions.all()) == 3
    OpenPool.open(folder, storage).close()


@pytest.fixture
def remote(tmp_path):
    """A pool on S3 and PostgreSQL with an active site."""
    storage = stores.storage(stores.KINDS[1])
    folder = c.make_pool(tmp_path, storage)
    with OpenPool.open(folder, storage) as pool:
        yield pool, c.join(pool, "site-a"), storage, folder


def test_a_commit_whose_answer_was_lost_is_found_out_and_the_log_goes_on(remote, monkeypatch):
    pool, site, storage, folder = remote
    import psycopg

    packed = site.pack(pool, c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, np.random.default_rng(1)))
    upload_id, before = c.upload(pool, packed), pool.log.size
    writer = pool.contributions.ledger._writer
    real = writer.dialect.do_commit

    def lost(connection):
        real(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(writer.dialect, "do_commit", lost)
    assert reason_of(pool.contributions.intake.commit, upload_id, c.NOW) == "STORE_UNAVAILABLE"
    monkeypatch.setattr(writer.dialect, "do_commit", real)
    assert pool.log.size == before, "nothing is shown that may not be there"
    done = pool.contributions.intake.commit(upload_id, c.NOW)
    assert pool.log.size == before + 2
    more = c.contribute(pool, site, np.random.default_rng(2))
    assert pool.contributions.intake.commit(more.contribution_id, c.NOW) == more
    assert pool.contributions.intake.commit(done.contribution_id, c.NOW) == done
    assert fsck(folder, storage) == []


def test_a_pool_goes_on_when_the_database_was_started_again(remote):
    import psycopg

    pool, site, storage, folder = remote
    c.contribute(pool, site, np.random.default_rng(1))
    with psycopg.connect(storage.ledger, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    c.contribute(pool, site, np.random.default_rng(2))
    assert fsck(folder, storage) == []


def test_a_store_that_fails_loses_nothing_and_the_retry_works(remote, monkeypatch):
    pool, site, storage, folder = remote
    packed = site.pack(pool, c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, np.random.default_rng(1)))
    upload_id, head = c.upload(pool, packed), pool.heads.latest()

    def refuses(*_, **__):
        raise OSError("the network is down")

    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put", refuses)
        assert reason_of(pool.contributions.intake.commit, upload_id, c.NOW) == "STORE_UNAVAILABLE"
    assert pool.heads.latest() == head
    assert fsck(folder, storage) == []
    done = pool.contributions.intake.commit(upload_id, c.NOW)
    assert pool.contributions.intake.commit(upload_id, c.NOW) == done
    assert examine(folder, storage).notes == []


def test_the_settings_say_where_a_pool_is_and_hold_no_secret(tmp_path):
    ledger, blobs = stores.database(), stores.prefix()
    folder = new_pool(tmp_path / "pool", name="pool.test/log", ledger=ledger, blobs=blobs)
    assert not (folder / "ledger.sqlite").exists()
    assert not (folder / "blobs").exists()
    storage = config.load(folder).storage
    assert storage == Storage(ledger, blobs)
    assert fsck(folder, storage) == []
    before = sorted(path.name for path in tmp_path.iterdir())
    for again in ({"ledger": ledger}, {"blobs": blobs}, {"ledger": ledger, "blobs": stores.prefix()}):
        with pytest.raises(GenepoolError) as caught:
            new_pool(tmp_path / "second", name="pool.test/log", **again)
        assert caught.value.reason == "PATH_NOT_EMPTY"
    assert not (tmp_path / "second").exists()
    assert set(before) <= {path.name for path in tmp_path.iterdir()}
    assert fsck(folder, storage) == [], "a refused init takes nothing of the other pool away"


def test_an_init_that_fails_takes_away_what_it_made_elsewhere(tmp_path, monkeypatch):
    ledger, blobs = stores.database(), stores.prefix()
    monkeypatch.setattr(app, "_publish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new_pool(tmp_path / "pool", ledger=ledger, blobs=blobs)
    monkeypatch.undo()
    assert fsck(new_pool(tmp_path / "pool", ledger=ledger, blobs=blobs), Storage(ledger, blobs)) == []


@pytest.mark.parametrize("key", ["ledger", "blobs"])
def test_settings_with_a_secret_are_refused_without_repeating_it(key):
    secret = {"ledger": "postgresql://pool:s3cret@db/pool", "blobs": "s3://key:s3cret@bucket/pool"}[key]
    with pytest.raises(GenepoolError) as caught:
        config.parse({key: secret}, "the settings")
    assert caught.value.reason == "CONFIG_INVALID"
    assert "s3cret" not in json.dumps(caught.value.diagnostics())
