"""Records of campaigns in backup, restore and fsck; a damaged one costs nothing but itself."""

import json
import stat

import numpy as np
import pytest

from genepool_protocol.trust.keys import SigningKey
from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns, SiteRecord
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.storage import HERE
from genepool_server.pool.upkeep import campaign_records
from genepool_server.pool.upkeep.restore import BackupSource, restore
from tests.support import sites as c


@pytest.fixture
def kept(place):
    """A pool that has a contribution, and the record of the campaign that brought it."""
    contribution = c.contribute(place.pool, place.a, np.random.default_rng(3))
    line = SiteRecord(
        site=place.a.name,
        progress="accepted",
        contribution_id=contribution.contribution_id,
        sha256=contribution.sha256,
    )
    campaigns, key = place.pool.campaigns, SigningKey.generate().public
    record = CampaignRecord(
        id="0000cafe", state="interrupted", pid=1, process="gone", bundle="sha256:" + "0" * 64, min_sites=2,
        began="2026-01-01T00:00:00Z", deadline="2099-01-01T00:00:00Z", sites=[line, SiteRecord(site="other")],
    )  # fmt: skip
    files = campaigns.create(record)
    campaigns.enter(place.a.name, key)
    for name in ("tls.pem", "superlink.log", "superlink.sqlite"):
        (files / name).write_text("of a process")
    (campaigns.folder / "lock").touch()
    return place, record, key


def problems(folder) -> list[tuple[str, str]]:
    return [(problem.where, problem.reason) for problem in campaign_records.problems(PoolFolder(folder))]


def names(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_records_and_nodes_come_back_and_nothing_of_a_process_does(kept, tmp_path):
    place, record, key = kept
    place.pool.upkeep.backup(tmp_path / "backup", tmp_path / "keys")
    own = {"0000cafe.json", f"0000cafe/nodes/{place.a.name}"}
    assert names(tmp_path / "backup" / "campaigns") == own
    assert {f"campaigns/{name}" for name in own} <= set(
        json.loads((tmp_path / "backup/backup.json").read_text())["files"]
    )
    restore(BackupSource(tmp_path / "backup", tmp_path / "keys"), tmp_path / "restored", HERE, {})
    restored = Campaigns(tmp_path / "restored" / "campaigns")
    assert list(restored.each()) == [record]
    assert dict(restored.nodes("0000cafe")) == {place.a.name: key}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (restored.folder, restored.node_keys("0000cafe"))} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in restored.paths()} == {0o600}
    assert problems(tmp_path / "restored") == problems(place.folder) == []


def test_a_pool_without_campaigns_is_sound(place, tmp_path):
    place.pool.upkeep.backup(tmp_path / "backup")
    assert not (tmp_path / "backup" / "campaigns").exists()
    assert problems(place.folder) == []


def test_a_damaged_record_is_told_and_keeps_no_pool_from_being_restored(kept, tmp_path):
    place, *_ = kept
    place.pool.campaigns.path("0000cafe").write_text("{")
    place.pool.upkeep.backup(tmp_path / "backup", tmp_path / "keys")
    restore(BackupSource(tmp_path / "backup", tmp_path / "keys"), tmp_path / "restored", HERE, {})
    for folder in (place.folder, tmp_path / "restored"):
        assert problems(folder) == [("campaigns/0000cafe.json", "LEDGER_INCONSISTENT")]


@pytest.mark.parametrize("change", [{"contribution_id": "ab" * 32}, {"sha256": "ab" * 32}, {"site": "other"}])
def test_a_record_that_claims_what_the_ledger_does_not_have_is_told(kept, change):
    place, record, _ = kept
    lines = [record.sites[0].model_copy(update=change)]
    place.pool.campaigns.write(record.model_copy(update={"sites": lines}))
    assert problems(place.folder) == [("campaigns/0000cafe.json", "LEDGER_INCONSISTENT")]
