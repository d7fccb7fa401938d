"""A server with little shared memory says so at once, and one whose shared memory is filled up goes on."""

import contextlib
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest

from genepool_protocol.v1 import pool_pb2
from tests.integration.server.test_consuming_over_the_wire import request, support
from tests.integration.server.test_starting_and_ending import RemoteServer
from tests.integration.server.wire import WireSite
from tests.support import bound
from tests.support.server import TIMEOUT, Stubs, channel, new_pool, server_process


def within(mib: int) -> list[str]:
    """A command that gives a program a shared memory of its own."""
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={mib}m own /dev/shm && exec "$@"', "sh"]


if subprocess.run([*within(1), "true"], capture_output=True, check=False).returncode:
    pytest.skip("this user may not mount", allow_module_level=True)


def test_too_little_shared_memory_is_said_at_the_start(tmp_path):
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder, ready=False, within=within(64)) as process:
        assert process.popen.wait(60) == 7
        told = process.log.read_text()
    assert "/dev/shm has" in told
    assert "docker run --shm-size" in told


def test_without_ray_little_shared_memory_is_enough(tmp_path):
    folder = new_pool(tmp_path / "pool")
    with server_process(folder, within=within(64)) as process:
        assert process.popen.poll() is None


@pytest.mark.slow
def test_shared_memory_that_others_fill_up_ends_nothing(tmp_path):
    rng = np.random.default_rng(0)
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder, within=within(300)) as process, channel(process.anchors) as opened:
        stubs = Stubs(opened)
        site = WireSite(RemoteServer(folder, process.anchors), stubs, "north").join()
        site.contribute(rng)
        before = {one.pid for one in bound.tree(process.pid) if one.name() in ("raylet", "gcs_server")}
        filler = Path(f"/proc/{process.pid}/root/dev/shm/filler")
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        assert select(stubs, rng) == grpc.StatusCode.RESOURCE_EXHAUSTED
        stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version="1.0"), timeout=TIMEOUT)
        site.contribute(rng)
        filler.unlink()
        assert select(stubs, rng) is None
        assert {one.pid for one in bound.tree(process.pid) if one.name() in ("raylet", "gcs_server")} == before


def select(stubs, rng) -> grpc.StatusCode | None:
    try:
        list(stubs.select.Select(request(*support(rng)), timeout=60))
    except grpc.RpcError as exc:
        return exc.code()
    return None
