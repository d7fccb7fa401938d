"""A consumer's images are nowhere in the pool's processes once the call is over, as sent or as computed with."""

import contextlib

import grpc
import numpy as np
import psutil
import pytest

from genepool_protocol.selection import pixels as protocol_pixels
from tests.integration.server.test_consuming_over_the_wire import request
from tests.integration.server.test_starting_and_ending import RemoteServer
from tests.integration.server.wire import WireSite
from tests.support import bound, memory
from tests.support.server import Stubs, channel, new_pool, server_process, wait_until

IMAGES = 48


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.slow)], ids=["inline", "ray"])
def world(request, tmp_path_factory):
    folder = new_pool(tmp_path_factory.mktemp("images") / "pool", serving={"workers": request.param})
    with server_process(folder) as process, channel(process.anchors) as opened:
        stubs = Stubs(opened)
        site = WireSite(RemoteServer(folder, process.anchors), stubs, "north").join()
        for seed in range(2):
            site.contribute(np.random.default_rng(seed))
        yield process, stubs


def markers(images: np.ndarray, blueprint) -> dict[str, bytes]:
    """Pieces of the images as they are sent, as numbers, and as patches."""
    numbers = protocol_pixels.to_images(blueprint, images)
    patches = protocol_pixels.to_patches(blueprint, numbers).numpy()
    found = {}
    for index in (0, IMAGES // 2, IMAGES - 1):
        found[f"pixels of {index}"] = images[index].tobytes()[128:192]
        found[f"numbers of {index}"] = numbers.numpy()[index, 1, 5].tobytes()
        found[f"patch of {index}"] = patches[index, 7].tobytes()
    return found


def traces(process, wanted) -> dict[str, set[str]]:
    found = {"shared memory": memory.in_shared_memory(wanted)}
    for one in bound.tree(process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
            found[f"{one.name()} {one.pid}"] = memory.traces(one.pid, wanted)
    return {name: what for name, what in found.items() if what}


def blueprint_of(process):
    return RemoteServer(process.folder, process.anchors).pool.blueprint("tiny-16").blueprint


def test_images_are_gone_when_the_call_is_over(world):
    process, stubs = world
    images = np.random.default_rng().integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)
    wanted = markers(images, blueprint_of(process))
    events = stubs.select.Select(request(images, np.arange(IMAGES) % 3), timeout=120)
    seen = [traces(process, wanted) for _ in zip(range(1), events, strict=False)]
    assert list(events)[-1].selection.candidates
    assert seen[0]  # the marker is one that can be seen
    with contextlib.suppress(grpc.RpcError):
        list(stubs.select.Select(request(np.zeros_like(images), np.arange(IMAGES) % 3), timeout=120))
    assert wait_until(lambda: not traces(process, wanted), 10), traces(process, wanted)


def test_images_are_gone_when_the_call_is_cancelled(world):
    process, stubs = world
    images = np.random.default_rng().integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)
    wanted = markers(images, blueprint_of(process))
    call = stubs.select.Select(request(images, np.arange(IMAGES) % 3), timeout=120)
    next(call)
    call.cancel()
    assert wait_until(lambda: not traces(process, wanted), 30), traces(process, wanted)
