"""One serving for all tests of this folder: inline by default, on real Ray for the slow ones."""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from genepool_server.app import start_workers
from genepool_server.serving.service import Serving, ServingConfig
from tests.support.views import MemoryView

BIG = {
    "name": "big-32",
    "image": 32,
    "head_dim": 64,
    "heads": 4,
    "mlp_ratio": 4,
    "depth": 3,
    "depths": [1, 12],
    "key": {"depth": 1, "heads": 1},
    "score": {"depth": 2, "heads": 2},
}
"""Large enough that a descendant is built in several parts and does not fit into a connection's buffers."""


@dataclass(frozen=True, slots=True)
class World:
    """A pool and who serves it; `run` runs a coroutine on the one loop that serving belongs to."""

    view: MemoryView
    serving: Serving
    runner: asyncio.Runner
    kind: str

    def run(self, coroutine) -> Any:
        return self.runner.run(coroutine)


@pytest.fixture(scope="session")
def pool_view(tmp_path_factory) -> MemoryView:
    view = MemoryView(tmp_path_factory.mktemp("serving"), {}, BIG)
    for number in range(9):
        view.add(f"site-{number}", licence="CC0-1.0" if number % 3 else "CC-BY-4.0", scale=0.1 * (number + 1))
    view.add("site-0", state="QUARANTINED")
    for number in range(3):
        view.add(f"site-{number}", name="big-32", scale=0.02)
    return view


CONFIG = ServingConfig(workers=0, score_threads=2, slots=2, max_concurrent_selects=2, queue=2, mapped_files=4)


def start(view: MemoryView, config: ServingConfig):
    serving = Serving.start(config, view, start_workers)
    with asyncio.Runner() as runner:
        yield World(view, serving, runner, "ray" if config.workers else "inline")
        serving.close()
        serving.close()


@pytest.fixture(scope="session")
def inline(pool_view):
    yield from start(pool_view, CONFIG)


@pytest.fixture(scope="session")
def on_ray(pool_view):
    from dataclasses import replace

    yield from start(pool_view, replace(CONFIG, workers=1, object_store_bytes=80 << 20))


@pytest.fixture(params=["inline", pytest.param("on_ray", marks=pytest.mark.slow)])
def world(request) -> World:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def support():
    rng = np.random.default_rng(3)
    labels = np.arange(24) % 3
    pixels = rng.integers(0, 60, (24, 16, 16, 3)) + 90 * labels[:, None, None, None]
    return pixels.astype(np.uint8), labels.tolist()
