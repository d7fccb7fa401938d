"""Sealed copies: they restore what lives, and nothing of what was withdrawn."""

import pytest

from genepool_protocol.trust import checkpoint, envelope, receipt
from genepool_server.pool.upkeep.fsck import examine, fsck
from tests.support import sites as c
from tests.support.refusals import reason_of


def copies(folder):
    return {path.name.removesuffix(".sealed"): path for path in folder.rglob("*.sealed")}


@pytest.fixture
def sealed(place, tmp_path):
    """The ids of two contributions, and the folder of their sealed copies."""
    ids = [place.contribute(site).contribution_id for site in (place.a, place.b)]
    assert place.pool.upkeep.seal(tmp_path / "sealed") == (2, 2)
    return ids, tmp_path / "sealed"


def test_sealed_copies_show_nothing_and_restore_everything(place, sealed):
    ids, folder = sealed
    found = [place.pool.contributions.get(one) for one in ids]
    assert set(copies(folder)) == {one.sha256 for one in found}
    for one in found:
        raw, kept = one.path.read_bytes(), copies(folder)[one.sha256].read_bytes()
        assert raw[200:232] not in kept
        assert (place.folder / "keys" / "data" / one.sha256).stat().st_mode & 0o777 == 0o600
        one.path.unlink()
    assert {problem.reason for problem in fsck(place.folder)} == {"BLOB_CORRUPT"}
    assert place.pool.upkeep.unseal(folder) == (2, 2)
    assert fsck(place.folder) == []
    assert place.pool.upkeep.unseal(folder) == (0, 2)


def test_sealing_again_seals_what_is_new(place, sealed):
    _, folder = sealed
    before = {name: path.read_bytes() for name, path in copies(folder).items()}
    place.contribute()
    assert place.pool.upkeep.seal(folder) == (1, 3)
    assert {name: copies(folder)[name].read_bytes() for name in before} == before


def test_once_the_data_key_is_destroyed_no_copy_can_be_read_and_the_log_still_verifies(place, sealed):
    ids, folder = sealed
    gone, kept = (place.pool.contributions.get(one) for one in ids)
    head = checkpoint.verify(place.pool.heads.latest(), place.pool.log.keys)
    assert place.pool.contributions.withdraw_as_operator(ids[0], "").erased
    assert not (place.folder / "keys" / "data" / gone.sha256).exists()
    assert gone.sha256 in copies(folder), "the backup is out of reach, and that does not matter"
    assert reason_of(place.pool.upkeep.sealer.unseal, gone.sha256, folder) == "FILE_MISSING"
    kept.path.unlink()
    assert place.pool.upkeep.unseal(folder) == (1, 1)
    assert not gone.path.exists()
    bundle = envelope.parse(gone.receipt)
    assert receipt.verify(bundle, envelope.verify(bundle, place.a.key.public), place.pool.log.keys)
    assert place.pool.log.consistency(head.size, head.size + 2)
    assert place.pool.upkeep.seal(folder) == (0, 1), "what was withdrawn is not sealed again"
    assert examine(place.folder).problems == examine(place.folder).notes == []


def test_fsck_finds_a_data_key_that_should_be_gone(place, sealed):
    ids, _ = sealed
    key = place.folder / "keys" / "data" / place.pool.contributions.get(ids[0]).sha256
    raw = key.read_bytes()
    place.pool.contributions.withdraw_as_operator(ids[0], "")
    key.write_bytes(raw)
    assert [problem.where.split()[0] for problem in fsck(place.folder)] == ["data"]


def test_a_damaged_copy_or_another_key_is_refused(place, sealed):
    ids, folder = sealed
    first, second = (place.pool.contributions.get(one) for one in ids)
    path = copies(folder)[first.sha256]
    raw = path.read_bytes()
    for wrong in (raw[:-1] + bytes([raw[-1] ^ 1]), raw[:20], b"", copies(folder)[second.sha256].read_bytes()):
        path.write_bytes(wrong)
        assert reason_of(place.pool.upkeep.sealer.unseal, first.sha256, folder) == "BLOB_CORRUPT"
    first.path.write_bytes(b"damaged")
    path.unlink()
    assert reason_of(place.pool.upkeep.seal, folder) == "BLOB_CORRUPT", "a damaged blob is not backed up"
    assert place.pool.origin == c.ORIGIN
