"""What `simulate` and `site run` start: bound to loopback, private on the disk, and deaf to other users."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from genepool_client.simulate.fleet import Fleet
from genepool_protocol.machine.launching import RAY_PREFIX
from genepool_server.campaign import server_app
from genepool_server.campaign.fab import app_folder
from tests.integration.flower.test_supernode import Campaign, bundle_digest
from tests.integration.site.world import World
from tests.support import bound
from tests.support.images import write_classes
from tests.support.ray_stranger import Stranger, gcs
from tests.support.server import wait_until

pytestmark = pytest.mark.slow

NOBODY = 65534

ASK = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
asking = socket.socket()
asking.settimeout(20)
asking.connect(("127.0.0.1", int(sys.argv[2])))
asking.sendall(f"POST {sys.argv[3]} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
print(asking.recv(99).split()[1].decode())
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "world").mkdir()
    made = World(tmp_path / "world")
    made.start()
    yield made
    made.stop()


def status(port: int, path: str, user: int) -> int:
    """The HTTP status that a user of this machine gets."""
    command = [sys.executable, "-I", "-c", ASK, str(user), str(port), path]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def superlink() -> psutil.Process:
    return next(
        one
        for one in psutil.Process().children(recursive=True)
        if "genepool_protocol.machine.superlink" in one.cmdline()
    )


def simulation(superlink: psutil.Process) -> psutil.Process:
    """The process that plays the nodes: it started Ray, and ends it."""
    return next(child for child in superlink.children(recursive=True) if "flwr-simulation" in " ".join(child.cmdline()))


@contextmanager
def held(process: psutil.Process) -> Iterator[None]:
    """A process that does not go on meanwhile."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


class Look:
    """What a running simulation shows of itself."""

    def __init__(self, flower: Path, work: Path) -> None:
        self.flower, self.work = flower, work
        self.listeners: set[tuple[str, str, int]] = set()
        self.core: set[tuple[str, str]] = set()
        self.open: list[str] = []
        self.joined: bool | None = None
        self.statuses: tuple[int, int] | None = None
        self.ray: Path | None = None

    def __call__(self) -> None:
        process = superlink()
        self.listeners |= set(bound.listeners(process.pid))
        self.core |= bound.core_limits(process.pid)
        self.open += bound.open_to_others(self.flower)
        if self.statuses is None and os.getuid() == 0:
            port = next(port for name, _, port in self.listeners if name.startswith("python"))
            path = "/v1/control/list-runs"
            self.statuses = status(port, path, NOBODY), status(port, path, 0)
        if self.joined is None and "raylet" in {name for name, _, _ in self.listeners}:
            own = self.ray = Path(process.environ()["RAY_TMPDIR"])
            assert (own.parent, own.name.startswith(RAY_PREFIX)) == (Path(tempfile.gettempdir()), True)
            assert stat.S_IMODE(own.stat().st_mode) == 0o700
            self.open += bound.open_to_others(own)
            with held(simulation(process)):  # else it may be over, and its Ray, before the stranger is at the door
                address = gcs(own)
                stranger = Stranger(address, None, self.work)
                self.joined = stranger.joined
                stranger.close()
                assert bound.answers("127.0.0.1", int(address.rpartition(":")[2]))


def test_a_simulations_flower_and_ray_are_closed(world, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # a stranger's cluster that the shell happens to name
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12}, np.random.default_rng(0))
    world.site("site-000", data=data)
    env = {
        server_app.ANCHORS: str(world.anchors),
        server_app.IDENTITY: str(world.auditor()),
        server_app.REPORT: str(tmp_path / "campaign.json"),
    }
    fleet, look = Fleet(tmp_path / "flower", world.root, env), Look(tmp_path / "flower", tmp_path / "stranger")
    try:
        fleet.run(app_folder(), 1, 1, {"min-nodes": 1}, look)
    finally:
        fleet.stop()
    assert {"gcs_server", "raylet"} <= {name for name, _, _ in look.listeners}
    assert [row for row in look.listeners if not bound.is_loopback(row[1])] == []
    assert (look.joined, look.open, look.core) == (False, [], {("0", "0")})
    if look.statuses is not None:
        other, own = look.statuses
        assert (other, own == 403) == (403, False)
    assert not look.ray.exists()


def test_a_sites_node_is_closed(world, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12}, np.random.default_rng(0))
    site = world.site("guarded", data=data)
    campaign = Campaign(world, tmp_path)
    try:
        campaign.node("node", site, bundle_digest(app_folder()))
        node = campaign.children[-1]._process.pid

        def flower() -> list[int]:
            """Ports of Flower's own servers; the numbers of the node are for everybody on this machine."""
            return [port for _, _, port in bound.listeners(node) if port != campaign.metrics]

        assert wait_until(flower, 120)
        rows = bound.listeners(node)
        assert [row for row in rows if not bound.is_loopback(row[1])] == []
        assert bound.core_limits(node) == {("0", "0")}
        assert bound.open_to_others(site.path / "flower") == []
        if os.getuid() == 0:
            path = "/v1/runtime/acquire-task"
            for port in flower():
                assert status(port, path, NOBODY) == 403
                assert status(port, path, 0) != 403
    finally:
        campaign.stop()
