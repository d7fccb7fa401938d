"""Entering a campaign from a site's folder: a person says yes once, and everything is kept in the folder."""

import json
import stat

import pytest

from genepool_client.site.flower import joining
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.durable import write_json
from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns, this_process
from tests.integration.site.world import refused

BUNDLE = "sha256:" + "ab" * 32


@pytest.fixture
def campaigns(world):
    return Campaigns(world.pool.folder / "campaigns")


@pytest.fixture
def running(campaigns):
    """Gives a campaign that this process runs, as far as its record says, a site's node as registered."""
    pid, process = this_process()
    record = CampaignRecord(
        id="0000cafe", state="running", pid=pid, process=process, bundle=BUNDLE, min_sites=1,
        address="127.0.0.1:8472", began="2026-01-01T00:00:00Z", deadline="2036-01-01T00:00:00Z",
    )  # fmt: skip
    campaigns.create(record)

    def register(site: SiteFolder, **changes) -> None:
        nodes = {site.config.name: site.keys.node()[0].public.keyid}
        campaigns.write(record.model_copy(update={"nodes": nodes, **changes}))

    yield register
    campaigns.write(record.model_copy(update={"state": "stopped"}))


@pytest.fixture
def site(world, request):
    return world.site(f"node-{request.node.name[5:30].replace('_', '-').strip('-')}")


def test_a_yes_is_asked_for_once_and_kept(site, running):
    asked = []

    def agree(offer) -> bool:
        asked.append(offer)
        return True

    running(site)
    link = joining.join(site, agree, 9094)
    assert (link.superlink, link.port, link.auth_key.name) == ("127.0.0.1:8472", 9094, "node.key")
    assert stat.S_IMODE(link.auth_key.stat().st_mode) == 0o600
    assert link.root_certificates.read_text() == site.config.anchors.ca_pem
    assert BUNDLE in "\n".join(asked[0].lines())
    assert SiteFolder(site.path).config.fabs == [BUNDLE]
    joining.join(SiteFolder(site.path), agree, 9094)
    assert len(asked) == 1


def test_a_no_leaves_nothing_behind(site, running):
    running(site)
    assert refused(joining.join, site, lambda _: False, 1).reason == "STATE_TRANSITION"
    assert SiteFolder(site.path).config.fabs == []
    assert not (site.path / joining.LAST).exists()


def test_while_the_pool_is_away_the_last_campaign_that_still_goes_on_is_taken(site, running):
    running(site)
    link = joining.join(site, lambda _: True, 1)
    anchors = site.config.anchors.model_dump(by_alias=True)
    site.change(anchors={**anchors, "address": "127.0.0.1:1"})
    away = SiteFolder(site.path)
    assert joining.join(away, lambda _: False, 1).superlink == link.superlink
    offer = json.loads((site.path / joining.LAST).read_text())
    write_json(site.path / joining.LAST, offer | {"ends": "2026-01-01T00:00:00Z"})
    assert refused(joining.join, away, lambda _: True, 1).reason == "POOL_UNREACHABLE"


def test_it_is_over_when_the_pool_says_so_or_cannot_after_its_end(site, running, campaigns):
    running(site)
    link = joining.join(site, lambda _: True, 1)
    offer = joining.CampaignOffer.model_validate_json((site.path / joining.LAST).read_text())
    assert not link.over()
    running(site, process="gone", deadline="2099-01-01T00:00:00Z")  # interrupted: it may be gone on with
    assert not link.over()
    running(site, state="stopped")
    assert link.over()
    anchors = site.config.anchors.model_dump(by_alias=True)
    site.change(anchors={**anchors, "address": "127.0.0.1:1"})
    away = SiteFolder(site.path)
    assert not joining.is_over(away, offer)
    assert joining.is_over(away, offer.model_copy(update={"ends": "2026-01-01T00:00:00Z"}))


def test_a_campaign_that_does_not_register_the_node_is_not_waited_for_for_ever(site, running, monkeypatch):
    monkeypatch.setattr(joining, "_PATIENCE", 0.2)
    monkeypatch.setattr(joining, "_POLL", 0.05)
    running(site, nodes={})
    assert refused(joining.join, site, lambda _: True, 1).reason == "CAMPAIGN_FAILED"
    running(site, address="")
    assert refused(joining.join, site, lambda _: True, 1).reason == "CAMPAIGN_FAILED"


def test_a_node_key_that_others_can_read_or_that_is_none_is_refused(site, running):
    running(site)
    _, path = site.keys.node()
    path.chmod(0o644)
    assert refused(joining.join, site, lambda _: True, 1).reason == "KEY_EXPOSED"
    path.chmod(0o600)
    path.write_text("no key")
    assert refused(joining.join, site, lambda _: True, 1).reason == "KEY_MALFORMED"
