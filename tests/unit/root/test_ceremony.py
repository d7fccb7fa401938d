"""Replacing keys of a pool: what was signed before stays valid, the old key is worth nothing, no step is half."""

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from genepool_protocol.trust import checkpoint, envelope, receipt
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError
from genepool_server import app
from genepool_server.commands.operating import opened
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.folder import PoolFolder, following
from genepool_server.pool.store.storage import Storage
from genepool_server.pool.upkeep.fsck import fsck
from genepool_server.pool.upkeep.restore import BackupSource
from genepool_server.root import ceremony, settling
from genepool_server.root.ceremony import POOL_KEYS, Ceremony
from tests.support import sites
from tests.support.refusals import reason_of
from tests.support.server import new_pool


def held(place, keys=None):
    return Ceremony.held(place, keys, datetime.now(UTC))


class World:
    """A pool in a folder with one site, which contributes random weights."""

    def __init__(self, folder):
        self.place, self.rng = PoolFolder(new_pool(folder)), np.random.default_rng(5)
        with opened(folder) as pool:
            self.site = sites.join(pool, "north")
        self.contribute()

    def contribute(self):
        with opened(self.place.root) as pool:
            weights = sites.weights_of(pool.blueprint("tiny-16").blueprint, self.rng)
            sites.submit(pool, self.site.pack(pool, weights))

    @property
    def trusted(self):
        return settling.settle(self.place)

    def receipts(self):
        with opened(self.place.root) as pool:
            return [envelope.parse(one.receipt) for one in pool.contributions.all()]

    def head(self):
        with opened(self.place.root) as pool:
            return pool.heads.latest()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "pool")


def replace(world, *names, **options):
    with held(world.place) as at:
        for name in names:
            at.replace_pool_key(name, **options)


# -- attack 55 ---------------------------------------------------------------------------------------------------------


def test_after_every_key_was_replaced_old_and_new_receipts_hold_and_the_log_is_sound(world):
    before = world.trusted
    replace(world, *POOL_KEYS)
    world.contribute()
    trusted = world.trusted
    for bundle in world.receipts():
        logged = receipt.verify(bundle, envelope.verify(bundle, world.site.key.public), trusted.log)
        assert (logged.checkpoint.key == trusted.log.current) == (logged.index > 2)
    assert fsck(world.place.root) == []
    assert trusted.log.log_id == before.log.log_id, "it is the same log"
    for role in ("release", "operator"):
        old, new = getattr(trusted, role).spans
        assert (old.key, old.end, new.first) == (getattr(before, role).current, 4, 4)


def test_the_size_at_which_a_log_key_took_over_is_signed_by_both(world):
    old, head = world.trusted.log, world.head()
    replace(world, "log")
    shown, log = world.head(), world.trusted.log
    assert shown != head
    assert [checkpoint.verify(note, log).size for note in (head, shown)] == [4, 4]
    assert reason_of(checkpoint.verify, shown, old) == "CHECKPOINT_INVALID"


def test_a_replaced_log_key_signs_no_later_size_and_the_new_one_no_earlier(world):
    signer = LogSigner.from_pem(world.trusted.origin, world.place.log_pem.read_bytes())
    replace(world, "log")
    world.head()  # the next start puts the new key in its place
    fresh, log = LogSigner.from_pem(signer.name, world.place.log_pem.read_bytes()), world.trusted.log
    root = bytes(32)
    assert checkpoint.verify(checkpoint.sign(4, root, signer).note, log).key == signer.public
    assert checkpoint.verify(checkpoint.sign(5, root, fresh).note, log).key == fresh.public
    assert reason_of(checkpoint.verify, checkpoint.sign(5, root, signer).note, log) == "CHECKPOINT_INVALID"
    assert reason_of(checkpoint.verify, checkpoint.sign(3, root, fresh).note, log) == "CHECKPOINT_INVALID"


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POOL_KEYS)
def test_a_replacement_that_ends_before_it_is_published_changes_nothing(world, name):
    before, path = world.trusted, world.place.keys / f"{name}.pem"
    pem = path.read_bytes()
    key = LogSigner.generate("pool.local/log") if name == "log" else SigningKey.generate()
    following(path).write_bytes(key.pem())
    following(path).chmod(0o600)
    world.contribute()
    assert (world.trusted, path.read_bytes()) == (before, pem)
    assert fsck(world.place.root) == []
    replace(world, name)
    world.contribute()
    assert fsck(world.place.root) == []


@pytest.mark.parametrize("name", POOL_KEYS)
def test_a_replacement_that_ends_once_it_is_published_is_finished_by_the_next_start(world, name, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(_place):
        raise Killed

    with pytest.raises(Killed), held(world.place) as at:
        monkeypatch.setattr(ceremony, "settle", kill)
        at.replace_pool_key(name)
    monkeypatch.undo()
    assert following(world.place.keys / f"{name}.pem").exists()
    world.contribute()
    assert not following(world.place.keys / f"{name}.pem").exists()
    assert fsck(world.place.root) == []
    assert len(getattr(world.trusted, name).spans) == 2


def test_a_pool_with_another_key_than_its_trust_root_names_does_not_open(world):
    world.place.release_pem.write_bytes(SigningKey.generate().pem())
    assert reason_of(OpenPool.open, world.place.root) == "LEDGER_INCONSISTENT"
    assert {one.reason for one in fsck(world.place.root)} == {"LEDGER_INCONSISTENT"}


# -- the operators' keys -----------------------------------------------------------------------------------------------


def test_the_operators_keys_are_needed_and_can_lie_elsewhere(world, tmp_path):
    safe = tmp_path / "safe"
    shutil.move(world.place.offline, safe)
    world.contribute()
    with held(world.place) as at:
        assert reason_of(at.replace_pool_key, "release") == "KEY_UNKNOWN"
    with held(world.place, safe) as at:
        at.replace_pool_key("release")
    assert len(world.trusted.release.spans) == 2


def test_replaced_root_and_targets_keys_are_worth_nothing(world, tmp_path):
    stolen = tmp_path / "stolen"
    shutil.copytree(world.place.offline, stolen)
    with held(world.place) as at:
        assert [path.name for path in at.replace_root_key("root")] == ["root-2.pem"]
    with held(world.place) as at:
        at.replace_root_key("targets")
        at.replace_root_key("online")
    with held(world.place, stolen) as at:
        assert reason_of(at.publish, [], 0) == "KEY_UNKNOWN"
        assert reason_of(at.set_threshold, 1) == "KEY_UNKNOWN"
    with held(world.place) as at:
        at.publish([], 0)
    world.contribute()


def test_more_operators_and_a_threshold(world, tmp_path):
    with held(world.place) as at:
        assert reason_of(at.set_threshold, 2) == "OPTION_INVALID", "it would lock everybody out"
        second = at.add_key(2)
    with held(world.place) as at:
        at.add_key(None)
    second.rename(tmp_path / second.name)
    alone = tmp_path / "alone"
    alone.mkdir(mode=0o700)
    shutil.copy(world.place.offline / "root-1.pem", alone)
    with held(world.place, alone) as at:
        assert reason_of(at.set_threshold, 1) == "KEY_UNKNOWN"


def test_only_a_release_key_can_be_called_compromised(world):
    with held(world.place) as at:
        for name in ("log", "operator"):
            assert reason_of(at.replace_pool_key, name, compromised=True) == "OPTION_INVALID"
        at.replace_pool_key("release", compromised=True)
    assert [one.compromised for one in world.trusted.release.spans] == [True, False]
    assert fsck(world.place.root) == [], "what it signed into the log is told by its index"


def test_a_backup_holds_the_trust_root_and_none_of_the_operators_keys(world, tmp_path):
    with opened(world.place.root) as pool:
        pool.upkeep.backup(tmp_path / "backup", tmp_path / "keys")
    secrets = [path.read_bytes() for path in world.place.offline.iterdir()]
    for folder in ("backup", "keys"):
        for path in (tmp_path / folder).rglob("*"):
            assert path.is_dir() or path.read_bytes() not in secrets
    app.restore(BackupSource(tmp_path / "backup", tmp_path / "keys"), tmp_path / "restored", Storage())
    restored = PoolFolder(tmp_path / "restored")
    assert list(settling.problems(restored)) == []
    with held(restored, world.place.offline) as at:
        at.replace_pool_key("log")
    with opened(restored.root) as pool:
        assert len(pool.log.keys.spans) == 2
    assert fsck(restored.root) == []


def test_nothing_is_published_while_the_server_runs(world):
    with opened(world.place.root), pytest.raises(GenepoolError) as caught, held(world.place):
        pass
    assert caught.value.reason == "FOLDER_IN_USE"


def test_a_sound_trust_root_has_no_problems(world):
    assert list(settling.problems(world.place)) == []
    replace(world, "release")
    assert list(settling.problems(world.place)) == []


def test_a_damaged_trust_root_is_found_before_the_pool_is_opened(world):
    path = next(world.place.trust.glob("*.trusted.json"))
    path.write_bytes(path.read_bytes().replace(b"quorum", b"Quorum"))
    assert reason_of(settling.settle, world.place) == "LEDGER_INCONSISTENT"
    assert [one.reason for one in settling.problems(world.place)] == ["LEDGER_INCONSISTENT"]
