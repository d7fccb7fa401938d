"""Making a pool's folder and opening it."""

import os
import shutil
import stat

import numpy as np
import pytest

from genepool_protocol.trust.keys import LogSigner
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import genes
from tests.support import sites as c
from tests.support.refusals import reason_of


@pytest.fixture
def blueprint(tmp_path):
    genes.write_seed(tmp_path / "blueprint", np.random.default_rng(0))
    return tmp_path / "blueprint"


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "pool").mkdir()
    return tmp_path / "pool"


def test_a_fresh_pool_is_empty_and_sound(empty, blueprint):
    OpenPool.create(empty, c.ORIGIN, [blueprint])
    with OpenPool.open(empty) as pool:
        assert (pool.origin, pool.log.keys.name) == (c.ORIGIN, c.ORIGIN)
        assert pool.sites.all() == pool.contributions.all() == pool.log.entries(0, 10) == []
        assert pool.heads.latest() == ""
        assert [one.blueprint.name for one in pool.blueprints()] == [c.BLUEPRINT]
    assert fsck(empty) == []


def test_secrets_are_for_this_user_only(empty, blueprint):
    OpenPool.create(empty, c.ORIGIN, [blueprint])
    with OpenPool.open(empty) as pool:
        pool.sites.invite("site-a", c.NOW)
        for path in [empty / "keys" / "log.pem", empty / "keys" / "release.pem", *empty.glob("ledger.sqlite*")]:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        for path in (empty / "keys", empty / "spool", empty / "blobs"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_a_second_pool_is_not_made_over_the_first(empty, blueprint):
    OpenPool.create(empty, c.ORIGIN, [blueprint])
    before = (empty / "keys" / "log.pem").read_bytes()
    assert reason_of(OpenPool.create, empty, c.ORIGIN, [blueprint]) == "PATH_NOT_EMPTY"
    assert (empty / "keys" / "log.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "seed.safetensors").unlink(), "FILE_MISSING"),
        (lambda folder: (folder / "blueprint.json").unlink(), "FILE_MISSING"),
        (lambda folder: (folder / "blueprint.json").write_bytes(b"{}"), "BLUEPRINT_MALFORMED"),
        (lambda folder: (folder / "blueprint.json").write_bytes(b"{"), "JSON_MALFORMED"),
        (lambda folder: os.truncate(folder / "seed.safetensors", 100), "SEED_MISMATCH"),
    ],
)
def test_a_damaged_blueprint_makes_no_pool_and_leaves_nothing(empty, blueprint, spoil, reason):
    spoil(blueprint)
    assert reason_of(OpenPool.create, empty, c.ORIGIN, [blueprint]) == reason
    assert list(empty.iterdir()) == []


@pytest.fixture
def apart(blueprint, tmp_path):
    """A seed that lies in no blueprint's folder, and another file beside it."""
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "other").write_bytes(b"another seed")
    (blueprint / "seed.safetensors").rename(tmp_path / "apart" / "mine")
    return tmp_path / "apart"


def test_a_seed_that_lies_elsewhere_is_known_by_its_digest(empty, blueprint, apart):
    OpenPool.create(empty, c.ORIGIN, [blueprint], [apart / "other", apart / "mine"])
    with OpenPool.open(empty) as pool:
        assert pool.blueprint(c.BLUEPRINT).seed_path.read_bytes() == (apart / "mine").read_bytes()
    assert fsck(empty) == []


@pytest.mark.parametrize(
    ("seeds", "reason"), [((), "FILE_MISSING"), (("nowhere",), "FILE_MISSING"), (("other",), "SEED_MISMATCH")]
)
def test_without_the_seed_that_is_named_there_is_no_pool(empty, blueprint, apart, seeds, reason):
    with pytest.raises(GenepoolError) as refusal:
        OpenPool.create(empty, c.ORIGIN, [blueprint], [apart / name for name in seeds])
    assert refusal.value.reason == reason
    assert seeds or f"blueprint make {c.BLUEPRINT}" in refusal.value.fix
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("origin", ["", "has space", "a+b", "l\u00e4nder", "a\nb"])
def test_a_name_that_cannot_stand_in_a_signed_note_is_refused(empty, blueprint, origin):
    assert reason_of(OpenPool.create, empty, origin, [blueprint]) == "NAME_INVALID"
    assert list(empty.iterdir()) == []


def test_a_pool_needs_blueprints_of_different_names(empty, blueprint):
    assert reason_of(OpenPool.create, empty, c.ORIGIN, []) == "OPTION_INVALID"
    assert reason_of(OpenPool.create, empty, c.ORIGIN, [blueprint, blueprint]) == "OPTION_INVALID"


def test_a_folder_that_is_missing_or_no_pool_is_named(tmp_path, empty, blueprint):
    assert reason_of(OpenPool.create, tmp_path / "nowhere", c.ORIGIN, [blueprint]) == "PATH_MISSING"
    assert reason_of(OpenPool.open, tmp_path / "nowhere") == "POOL_UNKNOWN"
    assert reason_of(OpenPool.open, empty) == "POOL_UNKNOWN"
    assert reason_of(fsck, empty) == "POOL_UNKNOWN"
    assert list(empty.iterdir()) == []


def test_a_folder_is_open_once(place):
    assert reason_of(OpenPool.open, place.folder) == "FOLDER_IN_USE"
    place.contribute()
    place.reopen()
    assert len(place.pool.contributions.all()) == 1


def test_a_pool_that_could_not_be_opened_can_be_opened_later(place):
    place.pool.close()
    key = place.folder / "keys" / "log.pem"
    good = key.read_bytes()
    key.write_bytes(LogSigner.generate(c.ORIGIN).pem())
    assert reason_of(OpenPool.open, place.folder) == "LEDGER_INCONSISTENT"
    key.unlink()
    assert reason_of(OpenPool.open, place.folder) == "FILE_MISSING"
    key.write_bytes(good)
    assert reason_of(OpenPool.open, place.folder) == "KEY_EXPOSED"
    key.chmod(0o600)
    assert place.reopen().origin == c.ORIGIN


def test_a_closed_pool_takes_no_more_calls(place):
    place.pool.close()
    place.pool.close()
    assert reason_of(place.pool.sites.all) == "INTERNAL"
    assert reason_of(place.pool.sites.invite, "site-c", c.NOW) == "INTERNAL"


def test_a_ledger_of_another_version_is_refused(place):
    place.pool.close()
    engine = Sqlite(place.folder / "ledger.sqlite").writer()
    with engine.begin() as tx:
        Sqlite(place.folder / "ledger.sqlite").set_version(tx, 99)
    engine.dispose()
    assert reason_of(OpenPool.open, place.folder) == "LEDGER_VERSION"
    assert [problem.reason for problem in fsck(place.folder)] == ["LEDGER_VERSION"]


def test_an_interrupted_init_is_told_apart_from_a_pool(empty, blueprint):
    OpenPool.create(empty, c.ORIGIN, [blueprint])
    (empty / "ledger.sqlite").write_bytes(b"")
    assert reason_of(OpenPool.open, empty) == "LEDGER_VERSION"


def test_a_ledger_that_is_no_database_is_refused(place):
    place.pool.close()
    (place.folder / "ledger.sqlite").write_bytes(b"no database " * 1000)
    assert reason_of(OpenPool.open, place.folder) == "LEDGER_INCONSISTENT"
    assert [problem.reason for problem in fsck(place.folder)] == ["LEDGER_INCONSISTENT"]


def test_a_restored_older_ledger_refuses_to_start(place):
    place.contribute()
    place.pool.close()
    shutil.copy(place.folder / "ledger.sqlite", place.folder.parent / "backup.sqlite")
    place.reopen()
    newer = place.contribute(place.b)
    place.pool.close()
    (place.folder / "ledger.sqlite").rename(place.folder.parent / "newer.sqlite")
    shutil.copy(place.folder.parent / "backup.sqlite", place.folder / "ledger.sqlite")
    assert reason_of(OpenPool.open, place.folder) == "LEDGER_INCONSISTENT"
    assert "LEDGER_INCONSISTENT" in {problem.reason for problem in fsck(place.folder)}
    shutil.copy(place.folder.parent / "newer.sqlite", place.folder / "ledger.sqlite")
    assert place.reopen().contributions.intake.commit(newer.contribution_id, c.NOW) == newer


@pytest.mark.parametrize("text", [None, "", "1\n", "x\ny\n", "01\n" + "A" * 43 + "=\n", "1\n" + "A" * 43 + "=\n"])
def test_a_missing_or_strange_lock_store_refuses_to_start(place, text):
    place.contribute()
    place.pool.close()
    path = place.folder / "log.size"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert reason_of(OpenPool.open, place.folder) == "LEDGER_INCONSISTENT"
    assert "LEDGER_INCONSISTENT" in {problem.reason for problem in fsck(place.folder)}


def test_a_damaged_seed_refuses_to_start(place):
    place.pool.close()
    seed = place.folder / "blueprints" / c.BLUEPRINT / "seed.safetensors"
    data = bytearray(seed.read_bytes())
    data[-1] ^= 1
    seed.write_bytes(data)
    assert reason_of(OpenPool.open, place.folder) == "BLOB_CORRUPT"
    assert "BLOB_CORRUPT" in {problem.reason for problem in fsck(place.folder)}


def test_a_folder_with_characters_that_mean_something_in_addresses_works(tmp_path, blueprint):
    folder = tmp_path / "a b?c#d%20e&f"
    folder.mkdir()
    OpenPool.create(folder, c.ORIGIN, [blueprint])
    with OpenPool.open(folder) as pool:
        assert pool.sites.all() == []
    assert fsck(folder) == []
    assert (folder / "ledger.sqlite").is_file()
