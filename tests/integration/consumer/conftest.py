"""One pool for all tests that leave it as it was: two blueprints, five learngenes of two sites under two licences."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genepool_client.consumer.pool import Pool
from genepool_client.consumer.select import support
from genepool_client.consumer.select.private import seed_tensors
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.selection.embedding import task_embedding
from genepool_server import app, config
from tests.support import images, sites
from tests.support.genes import write_seed
from tests.support.server import Server, serving

TINY, WIDE = "tiny-16", "wide-16"


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Nothing is remembered or cached outside of the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENEPOOL_HOME", str(home / "config"))
        patch.setenv("GENEPOOL_CACHE", str(home / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield home


def make_pool(folder: Path, **changes) -> Path:
    """A pool's folder; the descendants of the wide blueprint take several chunks."""
    rng = np.random.default_rng(0)
    families = [folder.parent / f"{folder.name}-{name}" for name in (TINY, WIDE)]
    write_seed(families[0], rng)
    write_seed(families[1], rng, name=WIDE, head_dim=64, heads=4)
    values = {
        "listen": "127.0.0.1:0",
        "drain_seconds": 1.0,
        "screening": "off",
        "serving": {"workers": 0, "stall_seconds": 20.0},
    }
    app.init(folder, config.parse(values | changes, "the test"), [str(family) for family in families])
    return folder


@dataclass
class Members:
    """Contributions to a pool, made without training."""

    server: Server
    task: Embedding

    def __post_init__(self):
        self.rng = np.random.default_rng(7)
        self.joined = {}

    def add(self, site: str, license_: str = "CC-BY-4.0", distance: float = 0.5) -> str:
        """The id of a new active contribution, whose key lies so far from the task's."""
        pool = self.server.pool
        if site not in self.joined:
            self.joined[site] = sites.join(pool, site)
        gene = sites.gene(pool.blueprint(TINY).blueprint, self.rng)
        gene["key.mean"] = self.task.mean + distance
        weights = tensors.encode(gene, "F16")
        packed = self.joined[site].pack(pool, weights, license=license_)
        return sites.submit(pool, packed).contribution_id


@pytest.fixture
def nothing_seen(own_home):
    """Heads of logs that a test saw are forgotten after it."""
    yield
    shutil.rmtree(own_home / "config", ignore_errors=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory, task):
    with serving(make_pool(tmp_path_factory.mktemp("pools") / "pool")) as running:
        members = Members(running, task)
        for index, (site, license_) in enumerate((("north", "CC-BY-4.0"), ("south", "Apache-2.0")) * 2):
            members.add(site if index < 2 else f"{site}-{index}", license_, 0.2 * (index + 1))  # a place is a site's
        members.add("north-4", distance=1.0)
        yield running


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory):
    """A pool that nobody has contributed to."""
    with serving(make_pool(tmp_path_factory.mktemp("pools") / "empty")) as running:
        yield running


@pytest.fixture
def pool(server):
    with Pool(server.address, server.anchors, blueprint=TINY) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A labelled support set: three classes of five images."""
    folder = tmp_path_factory.mktemp("support") / "labelled"
    return images.write_classes(folder, {"a": 5, "b": 5, "c": 5}, np.random.default_rng(1))


@pytest.fixture(scope="session")
def task(pictures, tmp_path_factory):
    """The key of the support set under the seed that `make_pool` makes."""
    folder = tmp_path_factory.mktemp("family")
    blueprint = write_seed(folder, np.random.default_rng(0))
    seed = seed_tensors(blueprint, folder / "seed.safetensors")
    return task_embedding(blueprint, seed, support.load(pictures, blueprint).pixels)


@pytest.fixture(scope="session")
def loose_pictures(pictures):
    """The same images in one flat folder: an unlabelled support set."""
    folder = pictures.parent / "flat"
    folder.mkdir()
    for path in sorted(pictures.rglob("*.png")):
        (folder / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """`genepool ARGUMENTS` inside this process: exit code, standard output, standard error."""

    from genepool_client.commands import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["genepool", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call
