"""Flower's own engine, a real pool, two simulated sites: invitations go out, receipts come back, weights never do."""

import json

import numpy as np
import pytest

from genepool_client.simulate.fleet import Fleet
from genepool_client.site import outbox
from genepool_client.site.code_identity import code_identity
from genepool_client.site.flower import failures
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.campaign import server_app
from genepool_server.campaign.fab import app_folder
from tests.integration.site.world import World, last_received
from tests.support.flower import told_as
from tests.support.images import write_classes

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "world").mkdir()
    made = World(tmp_path / "world")
    made.start()
    yield made
    made.stop()


def run(world: World, folder) -> dict:
    """One campaign over both sites; returns the run report, whether it raised or not."""
    report = folder / "campaign.json"
    folder.mkdir()
    env = {
        server_app.ANCHORS: str(world.anchors),
        server_app.IDENTITY: str(world.auditor()),
        server_app.REPORT: str(report),
    }
    fleet = Fleet(folder / "flower", world.root, env)
    raised = told = ""
    try:
        fleet.run(app_folder(), 2, 1, {"min-nodes": 2}, lambda: None)
    except GenepoolError as exc:
        raised, told = exc.reason, exc.diagnostics()
    finally:
        fleet.stop()
    return {**json.loads(report.read_text()), "raised": raised, "told": told}


def test_two_sites_contribute_and_one_that_cannot_is_reported(world, tmp_path):
    sites = []
    for index in range(2):
        data = write_classes(tmp_path / f"data-{index}", {"a": 12, "b": 12}, np.random.default_rng(index))
        sites.append(world.site(f"site-00{index}", data=data))

    report = run(world, tmp_path / "first")
    assert (report["raised"], report["state"], report["accepted"]) == ("", "completed", 2), report["told"]
    assert {row["result"] for row in report["sites"]} == {"accepted"}
    assert {row["claim"]["code"] for row in report["sites"]} == {code_identity()}
    claimed = {row["claim"]["contribution_id"] for row in report["sites"]}
    assert claimed == {last_received(site) for site in sites} == set(world.contributions())

    # again, with a site whose folder is damaged: the other one answers the receipt that it has
    (sites[1].path / "site.json").write_text("{}")
    report = run(world, tmp_path / "second")
    assert (report["raised"], report["state"], report["accepted"]) == ("SIMULATION_FAILED", "quorum missed", 1)
    assert "1 sites contributed, the campaign needs 2" in report["told"]  # what Flower noted reaches who simulates
    failed = next(row for row in report["sites"] if row["result"] == "failed")
    assert failed["reason"] == told_as(failures.UNUSABLE)
    assert len(outbox.artefacts(sites[0])) == 1
