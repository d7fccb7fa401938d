"""A server's Ray: nobody but the server reaches it, and its death ends nothing but itself."""

import contextlib
import os
import resource
import signal
import stat
import tempfile
import threading
from pathlib import Path

import grpc
import psutil
import pytest

from genepool_protocol.machine.launching import RAY_PREFIX
from genepool_protocol.v1 import pool_pb2
from genepool_server.front import operator_socket
from tests.integration.server.test_consuming_over_the_wire import descend, request, support
from tests.integration.server.test_starting_and_ending import RemoteServer
from tests.integration.server.wire import WireSite
from tests.support import bound
from tests.support.ray_stranger import Stranger, gcs
from tests.support.server import TIMEOUT, Stubs, channel, new_pool, server_process, wait_until

pytestmark = pytest.mark.slow

_RESTART = 90.0  # seconds; Ray takes five to fifteen to start on a quiet machine

START_SYNC = "/ray.rpc.syncer.RaySyncer/StartSync"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server process with Ray that was started by a shell which allows core files and names a foreign Ray."""
    folder = new_pool(tmp_path_factory.mktemp("ray") / "pool", serving={"workers": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_NODE_IP_ADDRESS", "192.0.2.1")
    try:
        with server_process(folder) as process, channel(process.anchors) as opened:
            patch.undo()
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
            yield process, Stubs(opened)
    finally:
        patch.undo()


def ray_folder(process) -> Path:
    """The private folder of the server's Ray: the one that a process of it works in."""
    driver = next(one for one in bound.tree(process.pid) if "genepool_server.serving.ray.driver" in one.cmdline())
    folder = Path(driver.cwd())
    assert (folder.parent, folder.name.startswith(RAY_PREFIX)) == (Path(tempfile.gettempdir()), True)
    return folder


def named(process, name: str) -> psutil.Process:
    return next(one for one in bound.tree(process.pid) if one.name() == name)


def ports_of(process, *names: str) -> list[int]:
    return [port for name, _, port in bound.listeners(process.pid) if name in names]


def start_sync(address: str, port: int) -> grpc.StatusCode:
    """What an empty call gets; it aborted Ray before it looked at the token."""
    with grpc.insecure_channel(f"{address}:{port}") as opened:
        method = opened.stream_stream(START_SYNC, request_serializer=bytes, response_deserializer=bytes)
        try:
            list(method(iter([b""]), timeout=5))
        except grpc.RpcError as exc:
            return exc.code()
    return grpc.StatusCode.OK


def runs(pid: int) -> bool:
    """Whether it has not ended; who has to reap it is not the server's business."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def select(stubs, rng):
    *_, last = stubs.select.Select(request(*support(rng)), timeout=_RESTART)
    return last.selection


# -- closed ------------------------------------------------------------------------------------------------------------


def test_every_port_of_the_server_and_its_ray_is_on_loopback(world):
    process, _ = world
    rows = bound.listeners(process.pid)
    assert {"gcs_server", "raylet"} <= {name for name, _, _ in rows}
    assert [row for row in rows if not bound.is_loopback(row[1])] == []


def test_from_another_address_nothing_of_ray_can_be_reached(world):
    process, _ = world
    for address in bound.own_addresses():
        for _, _, port in bound.listeners(process.pid):
            assert not bound.answers(address, port)
        for port in ports_of(process, "gcs_server", "raylet"):
            assert start_sync(address, port) == grpc.StatusCode.UNAVAILABLE
    assert named(process, "raylet").is_running()
    assert named(process, "gcs_server").is_running()


def test_who_knows_only_the_address_cannot_join_ray(world, tmp_path):
    process, _ = world
    folder = ray_folder(process)
    stranger = Stranger(gcs(folder), None, tmp_path / "stranger")
    friend = Stranger(gcs(folder), folder / "token", tmp_path / "friend")
    try:
        assert (stranger.joined, friend.joined) == (False, True)
    finally:
        stranger.close()
        friend.close()


def test_other_users_reach_none_of_rays_files(world):
    process, _ = world
    folder = ray_folder(process)
    mode = stat.S_IMODE(folder.stat().st_mode)
    assert (mode, folder.stat().st_uid) == (0o700, os.getuid())
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "ray").stat().st_mode) == 0o777  # why it is not the private folder itself
    assert bound.open_to_others(folder) == []
    sockets = [Path(one.laddr) for own in bound.tree(process.pid) for one in own.net_connections("unix") if one.laddr]
    others = {path for path in sockets if path.is_absolute() and not path.is_relative_to(folder)}
    assert {path for path in others if operator_socket.PREFIX not in str(path)} == set()


def test_no_process_of_the_server_writes_core_files(world):
    process, _ = world
    assert len(bound.tree(process.pid)) > 5
    assert bound.core_limits(process.pid) == {("0", "0")}


# -- mortal ------------------------------------------------------------------------------------------------------------


def kill(name: str):
    return lambda process: os.kill(named(process, name).pid, signal.SIGKILL)


def kill_driver(process) -> None:
    driver = next(one for one in bound.tree(process.pid) if "genepool_server.serving.ray.driver" in one.cmdline())
    driver.kill()


def sync(process) -> None:
    (port,) = ports_of(process, "gcs_server")
    start_sync("127.0.0.1", port)


@pytest.mark.parametrize(
    "death", [kill("raylet"), kill("gcs_server"), kill_driver, sync], ids=["raylet", "gcs_server", "driver", "packet"]
)
def test_ray_dies_and_neither_the_pool_nor_a_later_call_does(world, rng, death):
    process, stubs = world
    site = WireSite(RemoteServer(process.folder, process.anchors), stubs, f"site-{rng.integers(1 << 40)}").join()
    site.contribute(rng)
    before = {one.pid for one in bound.tree(process.pid) if one.name() in ("raylet", "gcs_server")}
    stop, failures = threading.Event(), []

    def ask() -> None:
        while not stop.wait(0.05):
            try:
                stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version="1.0"), timeout=TIMEOUT)
            except grpc.RpcError as exc:
                failures.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        death(process)
        receipt = site.contribute(rng)  # the log, the registry and ingest do not know that Ray is gone
        selection = select(stubs, rng)  # waits for the next Ray
        header, raw, _ = descend(stubs, selection.weights, max_params=10**6)
    finally:
        stop.set()
        asking.join()
    assert receipt is not None
    assert selection.candidates
    assert header.total_bytes == len(raw)
    assert failures == []
    assert process.popen.poll() is None
    assert wait_until(lambda: not any(map(runs, before)))


def test_a_server_whose_ray_just_died_goes_down_in_order(tmp_path, rng):
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder) as process:
        kill("raylet")(process)
        assert process.end(signal.SIGTERM) == 0
        assert process.leftovers() == []


# -- shared ------------------------------------------------------------------------------------------------------------


def test_consumers_who_cancel_their_selections_hold_up_nobody(world, rng):
    process, stubs = world
    site = WireSite(RemoteServer(process.folder, process.anchors), stubs, f"site-{rng.integers(1 << 40)}").join()
    site.contribute(rng)  # whatever ran before, there is something to select from
    pixels = support(rng)
    select(stubs, rng)
    restarts = process.log.read_text().count("a worker died")
    for _ in range(40):
        call = stubs.select.Select(request(*pixels), timeout=TIMEOUT)
        with contextlib.suppress(grpc.RpcError):
            next(call)
        call.cancel()
    assert select(stubs, rng).candidates  # within its deadline
    assert process.log.read_text().count("a worker died") == restarts
