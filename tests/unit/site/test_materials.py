"""What a site's command works with comes from the cache, where it is whole; otherwise only the pool has it."""

import shutil

import numpy as np
import pytest

from genepool_client.site import folder as folders
from genepool_client.site.folder import SiteConfig, SiteFolder
from genepool_client.site.materials import Materials, Settings, SiteBlueprint
from genepool_client.transport.durable import write_json
from genepool_protocol.progress import silent
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError
from tests.support.genes import write_seed
from tests.support.images import write_classes
from tests.support.trust import TrustRoot, trusted


@pytest.fixture
def site(tmp_path, monkeypatch) -> SiteFolder:
    """A site whose pool is away, and a cache that holds its blueprint."""
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    blueprint = write_seed(tmp_path / "source", np.random.default_rng(0))
    shutil.copytree(tmp_path / "source", tmp_path / "cache" / "blueprints" / blueprint.sha256)
    root = TrustRoot(
        tmp_path / "root", trusted(LogSigner.generate("pool.local/log").public, SigningKey.generate().public)
    )
    config = SiteConfig(
        name="alone",
        anchors=root.anchors("127.0.0.1:1"),
        blueprint=blueprint.name,
        blueprint_sha256=f"sha256:{blueprint.sha256}",
    )
    (tmp_path / "site").mkdir()
    write_json(tmp_path / "site" / folders.CONFIG_FILE, config.model_dump(by_alias=True))
    return SiteFolder(tmp_path / "site")


def reason(call, *arguments) -> str:
    with pytest.raises(GenepoolError) as caught:
        call(*arguments)
    return caught.value.reason


def test_what_the_cache_holds_is_taken_without_asking_the_pool_and_only_once(site, tmp_path):
    source = SiteBlueprint(site)
    assert source.seed.sha256() == source.blueprint.seed.sha256.removeprefix("sha256:")
    shutil.rmtree(tmp_path / "cache")
    assert source.seed is source.seed


@pytest.mark.parametrize("damage", ["a flipped byte", "another header", "cut short", "gone"])
def test_a_damaged_seed_is_not_used(site, tmp_path, damage):
    (seed,) = (tmp_path / "cache").rglob("seed.safetensors")
    raw = seed.read_bytes()
    seed.unlink()
    if damage != "gone":
        changed = {
            "a flipped byte": raw[:-1] + bytes([raw[-1] ^ 1]),
            "another header": b"x" + raw[1:],
            "cut short": raw[:-1],
        }
        seed.write_bytes(changed[damage])
    assert reason(lambda: SiteBlueprint(site).blueprint) == "POOL_UNREACHABLE"


def test_images_and_recipes_are_found_once_for_both_steps(site, tmp_path):
    source = SiteBlueprint(site)
    assert reason(Materials.read, source, Settings(), silent) == "OPTION_INVALID", "no data was given"
    data = str(write_classes(tmp_path / "data", {"a": 3, "b": 3}, np.random.default_rng(0)))
    free = Materials.read(source, Settings(data=data, device="cpu"), silent)
    asked = Materials.read(source, Settings(data=data, device="cpu", steps=2 * free.training.steps), silent)
    assert (free.steps, asked.steps) == (0, 2 * free.training.steps)
    assert asked.condensing.steps == 2 * free.condensing.steps
    assert reason(Materials.read, source, Settings(data=data, device="tpu"), silent) == "OPTION_INVALID"
