"""A pool whose blueprint is a published net: class token, LayerScale, picked layers, a seed that is given apart."""

import numpy as np
import pytest
import timm
import torch

from genepool_client import Pool
from genepool_client.consumer.descendant.verify import verify
from genepool_protocol.selection import net
from genepool_protocol.selection.pixels import to_images
from genepool_server import app, config
from tests.support import sites
from tests.support.genes import published_blueprint, write_seed
from tests.support.server import serving

NAME = "tiny-published"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The pool, and the seed that it was given."""
    folder = tmp_path_factory.mktemp("published")
    write_seed(folder / "family", np.random.default_rng(0), published_blueprint)
    (folder / "family" / "seed.safetensors").rename(folder / "seed")
    serving_of = {"workers": 0, "stall_seconds": 20.0}
    # learngenes of random numbers have nothing in common, so no screen would let them pass
    values = {"listen": "127.0.0.1:0", "drain_seconds": 1.0, "screening": "off", "serving": serving_of}
    app.init(folder / "pool", config.parse(values, "the test"), [str(folder / "family")], [folder / "seed"])
    with serving(folder / "pool") as running:
        rng, blueprint = np.random.default_rng(1), running.pool.blueprint(NAME).blueprint
        for name in ("north", "south"):
            site = sites.join(running.pool, name)
            packed = site.pack(running.pool, sites.learngene_file(blueprint, rng), family=NAME)
            sites.submit(running.pool, packed)
        yield running, folder / "seed"


def test_the_seed_comes_to_clients_over_the_wire(published):
    running, seed = published
    with Pool(running.address, running.anchors) as pool:
        assert pool.offer().seed.read_bytes() == seed.read_bytes()


def test_both_modes_select_the_same_and_every_depth_descends_and_loads(published, pictures, tmp_path):
    running, _ = published
    with Pool(running.address, running.anchors) as pool:
        home, away = pool.select(pictures), pool.select(pictures, mode="remote")
        assert home.weights == away.weights
        some = {entry.contribution_id: 500 for entry in running.pool.contributions.all()}
        images = pool.support(pictures).pixels
        for size in pool.blueprint.sizes():
            out = tmp_path / str(size.depth)
            pool.descend(weights=some, size=size, out=out)
            assert len(verify(out, running.trusted).lineage.dependencies) == 2
            model = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
            state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head")}
            with torch.inference_mode():
                seen = model(to_images(pool.blueprint, images))
            assert seen.std() > 0.01
            torch.testing.assert_close(seen, net.embed(pool.blueprint, size, state, images), atol=1e-5, rtol=0)
