"""A consumer's images are nowhere in the pool's processes once the call is over, as sent or as computed with."""

import contextlib

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
        yield process


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


def random_images() -> np.ndarray:
    return np.random.default_rng().integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)


def test_images_are_gone_when_the_call_is_over(world):
    images, labels = random_images(), np.arange(IMAGES) % 3
    wanted = markers(images, blueprint_of(world))
    with channel(world.anchors) as opened:
        events = Stubs(opened).select.Select(request(images, labels), timeout=120)
        next(events)
        during = traces(world, wanted)
        *_, last = events
    assert last.selection.candidates
    assert during  # such a marker can be seen
    assert wait_until(lambda: not traces(world, wanted), 120), traces(world, wanted)


def test_images_are_gone_when_the_call_is_cancelled(world):
    images, labels = random_images(), np.arange(IMAGES) % 3
    wanted = markers(images, blueprint_of(world))
    with channel(world.anchors) as opened:
        call = Stubs(opened).select.Select(request(images, labels), timeout=120)
        next(call)
        call.cancel()
    assert wait_until(lambda: not traces(world, wanted), 120), traces(world, wanted)


def test_an_open_connection_holds_no_more_than_the_end_of_what_came_last(world):
    """Its buffers are overwritten by the next message, or with the connection."""
    images, labels = random_images(), np.arange(IMAGES) % 3
    wanted = markers(images, blueprint_of(world))
    with channel(world.anchors) as opened:
        *_, last = Stubs(opened).select.Select(request(images, labels), timeout=120)
        left = {f"pixels of {IMAGES - 1}"}
        assert last.selection.candidates
        assert wait_until(lambda: all(what <= left for what in traces(world, wanted).values()), 120)
