"""Backups of every kind of pool, and pools of every kind from them."""

import errno
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.trust import digest, tiles
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.log import tile_files
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.upkeep.fsck import examine, fsck
from genepool_server.pool.upkeep.restore import BackupSource, restore
from tests.support import sites as c
from tests.support import stores
from tests.support.refusals import reason_of


def facts(pool):
    """Everything that a pool answers from its ledger and log."""
    found = [(one.contribution_id, one.state, one.receipt, one.manifest) for one in pool.contributions.all()]
    return pool.origin, pool.sites.all(), found, pool.heads.latest(), pool.log.entries(0, 256), pool.release_key.pem()


@pytest.fixture
def saved(place, tmp_path):
    """The pool, and a backup of it with its keys."""
    folder, storage, *_ = place
    with OpenPool.open(folder, storage) as pool:
        done = pool.upkeep.backup(tmp_path / "backup", tmp_path / "keys")
        assert (done.contributions, done.log_size) == (2, len(pool.log.entries(0, 256)))
    return BackupSource(tmp_path / "backup", tmp_path / "keys")


@pytest.mark.parametrize("kind", stores.KINDS)
def test_a_restored_pool_is_the_same_wherever_it_is_put_and_goes_on(place, saved, tmp_path, kind):
    folder, storage, a, _ = place
    other, target = stores.storage(kind), tmp_path / "restored"
    report = restore(saved, target, other, {})
    assert (report.problems, report.notes, report.contributions) == ([], [], 3)
    assert report == examine(target, other)
    with OpenPool.open(folder, storage) as before:
        expected, weights = (
            facts(before),
            [one.sha256 for one in c.active(before)],
        )
    with OpenPool.open(target, other) as after:
        assert facts(after) == expected
        after.upkeep.gather()
        for found, sha256 in zip(c.active(after), weights, strict=True):
            assert digest.sha256_file(found.path) == sha256
        c.contribute(after, a, np.random.default_rng(9))
    assert fsck(target, other) == []
    assert (target / "ledger.sqlite").exists() is (kind == stores.KINDS[0])
    assert (target / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (target / "keys").glob("*.pem")} == {0o600}


def company(pool):
    """What the pool knows of what was withdrawn, and whom it would ask of its first contribution."""
    found = pool.contributions.company(pool.contributions.all()[0])
    gone = [(one.contribution_id, one.index, one.sketch.direction.tolist()) for one in found.withdrawn]
    return [one.contribution_id for one in found.active], gone, found.salt


def test_sketches_of_what_was_withdrawn_and_their_secret_come_back(place, saved, tmp_path):
    folder, storage, *_ = place
    restore(saved, tmp_path / "restored", stores.HERE, {})
    with OpenPool.open(folder, storage) as before, OpenPool.open(tmp_path / "restored") as after:
        assert company(after) == company(before)
        assert len(company(after)[1]) == 1
    assert (tmp_path / "restored" / "keys" / "review.key").stat().st_mode & 0o777 == 0o600
    (saved.keys / "review.key").unlink()
    assert reason_of(restore, saved, tmp_path / "again", stores.HERE, {}) == "FILE_MISSING"


def test_a_backup_of_older_software_is_restored_and_brought_up(place, saved, tmp_path):
    database = Sqlite(saved.backup / "ledger.sqlite")
    engine = database.writer()
    with engine.begin() as tx:
        stores.make_older(tx, database)
    engine.dispose()
    (saved.keys / "review.key").unlink()
    said = json.loads((saved.backup / "backup.json").read_text())
    said["files"]["ledger.sqlite"] = digest.sha256_file(saved.backup / "ledger.sqlite")
    (saved.backup / "backup.json").write_text(json.dumps(said))
    restore(saved, tmp_path / "restored", stores.HERE, {})
    with OpenPool.open(tmp_path / "restored") as pool:
        assert company(pool)[1] == [], "of what was withdrawn before there is none"
    assert fsck(tmp_path / "restored") == []


def test_a_backup_shows_no_key_and_no_weights(place, saved):
    folder, storage, *_ = place
    files = [path for path in saved.backup.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".pem"]
    with OpenPool.open(folder, storage) as pool:
        pool.upkeep.gather()
        pieces = [one.path.read_bytes()[-64:] for one in c.active(pool)]
    kept = [path.read_bytes() for path in files]
    assert pieces
    assert not [1 for piece in pieces for raw in kept if piece in raw]
    assert {path.stat().st_mode & 0o077 for path in (saved.backup, saved.keys)} == {0}


def test_a_backup_beside_a_busy_pool_is_of_one_moment(place, tmp_path):
    folder, storage, a, _ = place
    with OpenPool.open(folder, storage) as pool:
        stop, rng = threading.Event(), np.random.default_rng(11)

        def busy():
            while not stop.is_set():
                done = c.contribute(pool, a, rng)
                pool.contributions.withdraw_as_operator(done.contribution_id, "")

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for n in range(3):
                pool.upkeep.backup(tmp_path / f"backup{n}", tmp_path / f"keys{n}")
        finally:
            stop.set()
            thread.join()
        final = len(pool.contributions.all())
    for n in range(3):
        report = restore(
            BackupSource(tmp_path / f"backup{n}", tmp_path / f"keys{n}"), tmp_path / f"r{n}", stores.HERE, {}
        )
        assert report.problems == []
        assert 3 <= report.contributions <= final


def test_attack_51_a_backup_that_is_older_than_what_was_published_is_refused_and_a_newer_one_taken(place, tmp_path):
    folder, storage, a, b = place
    with OpenPool.open(folder, storage) as pool:
        pool.upkeep.backup(tmp_path / "older", tmp_path / "older-keys")
        c.contribute(pool, a, np.random.default_rng(12))
        pool.upkeep.backup(tmp_path / "newer", tmp_path / "newer-keys")
        (tmp_path / "head").write_text(pool.heads.latest())
    older = (tmp_path / "older", tmp_path / "older-keys")
    for seen in (tmp_path / "head", folder / "log.size"):
        with pytest.raises(GenepoolError) as caught:
            restore(BackupSource(*older, [seen]), tmp_path / "restored", stores.HERE, {})
        assert caught.value.reason == "LEDGER_INCONSISTENT"
        assert "deploy/storage.md" in caught.value.fix
        assert not (tmp_path / "restored").exists()
        newer = BackupSource(tmp_path / "newer", tmp_path / "newer-keys", [seen])
        assert restore(newer, tmp_path / f"from-{seen.name}", stores.HERE, {}).problems == []
    # nothing tells that the older one is old; but what it then signs is another history
    restore(BackupSource(*older), tmp_path / "forked", stores.HERE, {})
    with OpenPool.open(tmp_path / "forked") as forked:
        c.contribute(forked, b, np.random.default_rng(13))
        (tmp_path / "other-head").write_text(forked.heads.latest())
    newer = BackupSource(tmp_path / "newer", tmp_path / "newer-keys", [tmp_path / "other-head"])
    assert reason_of(restore, newer, tmp_path / "restored", stores.HERE, {}) == "LEDGER_INCONSISTENT"
    shutil.copy(folder / "log.size", tmp_path / "forked" / "log.size")
    assert reason_of(OpenPool.open, tmp_path / "forked") == "LEDGER_INCONSISTENT"


def test_a_head_of_another_log_says_nothing(saved, tmp_path):
    from genepool_protocol.trust import checkpoint
    from genepool_protocol.trust.keys import LogSigner

    (tmp_path / "head").write_text(checkpoint.sign(1, bytes(32), LogSigner.generate(c.ORIGIN)).note)
    source = BackupSource(saved.backup, saved.keys, [tmp_path / "head"])
    assert reason_of(restore, source, tmp_path / "restored", stores.HERE, {}) == "CHECKPOINT_INVALID"
    source = BackupSource(saved.backup, saved.keys, [tmp_path / "nothing"])
    assert reason_of(restore, source, tmp_path / "restored", stores.HERE, {}) == "FILE_MISSING"


def test_attack_66_without_its_data_key_a_learngene_does_not_come_back(saved, tmp_path):
    next((saved.keys / "data").iterdir()).unlink()
    assert reason_of(restore, saved, tmp_path / "restored", stores.HERE, {}) == "FILE_MISSING"


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def sealed(backup):
    return next(backup.rglob("*.sealed"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: damage(one / "ledger.sqlite"), "BLOB_CORRUPT"),
        (lambda one: damage(sealed(one)), "BLOB_CORRUPT"),
        (lambda one: sealed(one).unlink(), "FILE_MISSING"),
        (lambda one: (one / "log.size").unlink(), "BLOB_CORRUPT"),
        (lambda one: (one / "backup.json").unlink(), "FILE_MISSING"),
        (lambda one: (one / "backup.json").write_text("{}"), "JSON_MALFORMED"),
        (lambda one: reads(one, "../keys/log.pem"), "BLOB_CORRUPT"),
        (lambda one: reads(one, str(one.parent / "keys" / "log.pem")), "BLOB_CORRUPT"),
    ],
)
@pytest.mark.parametrize("kind", stores.KINDS)
def test_a_damaged_backup_is_refused_and_leaves_nothing_anywhere(saved, tmp_path, change, reason, kind):
    change(saved.backup)
    other = stores.storage(kind)
    assert reason_of(restore, saved, tmp_path / "restored", other, {}) == reason
    assert not (tmp_path / "restored").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    OpenPool.create(made(tmp_path / "fresh"), c.ORIGIN, [blueprint(saved)], storage=other)  # the places are empty again


@pytest.mark.parametrize("kind", stores.KINDS)
def test_a_pool_that_cannot_be_put_in_its_place_leaves_nothing_anywhere(saved, tmp_path, kind, monkeypatch):
    other = stores.storage(kind)

    def refuses(*_):
        raise OSError(errno.EBUSY, "it is a mount point")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuses)
        assert reason_of(restore, saved, tmp_path / "restored", other, {}) == "DISK_FAILED"
    assert restore(saved, tmp_path / "restored", other, {}).problems == []


def reads(backup, name):
    """Let the backup claim a file that is outside of it."""
    said = json.loads((backup / "backup.json").read_text())
    said["files"][name] = digest.sha256_file(backup / name)
    (backup / "backup.json").write_text(json.dumps(said))


def made(folder):
    folder.mkdir()
    return folder


def blueprint(saved):
    return next(path.parent for path in saved.backup.rglob("blueprint.json"))


def test_a_backup_that_was_changed_with_its_digests_is_found_out_by_fsck(saved, tmp_path):
    connection = stores.raw(stores.HERE, saved.backup)
    connection.execute("UPDATE contribution SET state = 'ACTIVE' WHERE state = 'WITHDRAWN'")
    connection.close()
    reads(saved.backup, "ledger.sqlite")
    assert reason_of(restore, saved, tmp_path / "restored", stores.HERE, {}) in ("LEDGER_INCONSISTENT", "FILE_MISSING")
    assert not (tmp_path / "restored").exists()


def test_nothing_that_exists_is_written_over(place, saved, tmp_path):
    folder, storage, *_ = place
    with OpenPool.open(folder, storage) as pool:
        assert reason_of(pool.upkeep.backup, saved.backup) == "PATH_NOT_EMPTY"
        assert reason_of(pool.upkeep.backup, tmp_path / "new", saved.keys) == "PATH_NOT_EMPTY"
        assert not (tmp_path / "new").exists()
        assert reason_of(pool.upkeep.backup, folder / "backup") == "OPTION_INVALID"
    assert reason_of(restore, saved, folder, stores.HERE, {}) == "PATH_NOT_EMPTY"
    if storage.ledger:
        assert reason_of(restore, saved, tmp_path / "new", storage, {}) == "PATH_NOT_EMPTY"
    assert fsck(folder, storage) == []


def test_tiles_come_along(place, tmp_path, monkeypatch):
    for module in (tiles, tile_files):
        monkeypatch.setattr(module, "WIDTH", 8)
    folder, storage, a, _ = place
    with OpenPool.open(folder, storage) as pool:
        c.contribute(pool, a, np.random.default_rng(14))
        pool.upkeep.backup(tmp_path / "backup", tmp_path / "keys")
    names = {path.relative_to(folder) for path in (folder / "tiles").rglob("*") if path.is_file()}
    assert names
    assert all((tmp_path / "backup" / name).read_bytes() == (folder / name).read_bytes() for name in names)
    restore(BackupSource(tmp_path / "backup", tmp_path / "keys"), tmp_path / "restored", stores.HERE, {})
    assert all((tmp_path / "restored" / name).is_file() for name in names)
