"""A site's folder is its owner's alone after every step, also for somebody whose umask hides nothing."""

import os
import stat

import numpy as np
import pytest

from genepool_client.site import credentials, enrolment, steps, withdrawing
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Materials, Settings, SiteBlueprint
from genepool_client.training import ancestry, condense
from genepool_client.transport.channel import Connection
from genepool_client.transport.user_folders import default_cache
from tests.integration.site.world import silent, submit
from tests.support.images import write_classes


@pytest.fixture
def hiding_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "caches" / "cache"))
    before = os.umask(0)
    yield
    os.umask(before)


def exposed(folder) -> list[str]:
    """Everything in a folder that others could enter, read or write."""
    entries = [folder, *folder.rglob("*")]
    return [
        f"{path} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in entries
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]


def joined(world, name, data) -> SiteFolder:
    setup = enrolment.Setup(invite=world.invited(name), pool="", data=str(data), steps=2)
    site = enrolment.init(world.root / name, setup)
    with site.locked(), Connection(site.config.anchors, trust=site.trust) as connection:
        enrolment.enrol(site, connection)
    world.approve(name)
    return site


def test_no_step_leaves_anything_open(world, tmp_path, hiding_nothing, monkeypatch):
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12}, np.random.default_rng(0))
    site = joined(world, "modes", data)
    assert exposed(site.path) == []
    materials = Materials.read(SiteBlueprint(site), Settings(device="cpu"), silent)
    for kind in (ancestry, condense):  # a checkpoint lies there between the steps
        monkeypatch.setattr("pathlib.Path.unlink", _but_not(kind.CHECKPOINT))
    steps.train(materials, silent)
    assert (site.work / "ancestry.safetensors").exists()
    assert (site.work / ancestry.CHECKPOINT).exists()
    assert exposed(site.path) == []
    steps.condense_learngene(materials, silent)
    monkeypatch.undo()
    done = submit(site)
    with credentials.connect(site) as connection:
        withdrawing.withdraw(site, connection, done.contribution_id, "")
    credentials.rotate_signing(site, None)
    assert {"keys.json", "outbox", "withdrawals", "work", "checkpoint", "trust"} <= {
        p.name for p in site.path.iterdir()
    }
    assert exposed(site.path) == []


def test_what_is_cached_is_closed(world, tmp_path, hiding_nothing):
    data = write_classes(tmp_path / "data", {"a": 2, "b": 2}, np.random.default_rng(0))
    site = joined(world, "cached", data)
    assert SiteBlueprint(site).blueprint.sha256 == site.config.blueprint_sha256.removeprefix("sha256:")
    assert default_cache().exists()
    assert exposed(default_cache().parent) == []


def test_what_an_earlier_version_left_open_is_closed_by_the_next_command(world, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 6, "b": 6}, np.random.default_rng(0))
    site = joined(world, "older", data)
    (site.work / "ancestry.safetensors").write_bytes(b"a full model")
    for path in (site.work / "ancestry.safetensors", site.work, site.path):
        path.chmod(0o755)
    with site.locked():
        assert exposed(site.path) == []


def _but_not(name):
    from pathlib import Path

    true = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name != name:
            true(path, missing_ok=missing_ok)

    return unlink
