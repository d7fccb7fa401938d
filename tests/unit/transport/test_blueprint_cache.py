"""Blueprints on the client: only what the pool announced is kept, and a damaged copy is fetched again."""

import numpy as np
import pytest

from genepool_client.transport import blueprints
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import GenepoolError
from tests.support.genes import write_seed


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    return write_seed(folder, np.random.default_rng(0)), folder


def parts(folder, change=lambda raw: raw):
    yield pool_pb2.GetBlueprintResponse(blueprint_json=(folder / "blueprint.json").read_bytes())
    raw = change((folder / "seed.safetensors").read_bytes())
    for start in range(0, len(raw), 1000):
        yield pool_pb2.GetBlueprintResponse(seed_chunk=raw[start : start + 1000])


def test_what_was_announced_is_kept_and_found_again(tmp_path, source):
    blueprint, folder = source
    found, seed = blueprints.load(tmp_path, blueprint.sha256, parts(folder))
    assert (found, seed.read_bytes()) == (blueprint, (folder / "seed.safetensors").read_bytes())
    assert blueprints.load(tmp_path, blueprint.sha256, iter(())) == (blueprint, seed)


def test_a_damaged_copy_is_fetched_again(tmp_path, source):
    blueprint, folder = source
    _, seed = blueprints.load(tmp_path, blueprint.sha256, parts(folder))
    seed.write_bytes(b"x" + seed.read_bytes()[1:])
    _, again = blueprints.load(tmp_path, blueprint.sha256, parts(folder))
    assert again.read_bytes() == (folder / "seed.safetensors").read_bytes()


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" + raw[1:], lambda _raw: b""]
)
def test_another_seed_than_announced_is_refused_and_not_kept(tmp_path, source, change):
    blueprint, folder = source
    with pytest.raises(GenepoolError) as caught:
        blueprints.load(tmp_path, blueprint.sha256, parts(folder, change))
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert not list((tmp_path / "blueprints").iterdir())


def test_another_blueprint_than_announced_is_refused(tmp_path, source):
    _, folder = source
    for announced in ("0" * 64, "../../etc"):
        with pytest.raises(GenepoolError) as caught:
            blueprints.load(tmp_path, announced, parts(folder))
        assert caught.value.reason == "DIGEST_MISMATCH"
