"""A server's life: ready, drained, interrupted, killed; nothing of it is left, and nothing that it promised is lost."""

import json
import queue
import signal
import tempfile
from pathlib import Path

import grpc
import pytest

from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.machine.launching import RAY_PREFIX
from genepool_protocol.machine.private_folder import sweep
from genepool_protocol.trust.anchors import read_anchors
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import pool_pb2
from genepool_server.commands.operating import operate as operated
from genepool_server.front import operator_socket
from genepool_server.pool.upkeep.creation import load_blueprint
from genepool_server.serving import shared_images, slots
from tests.integration.server.test_consuming_over_the_wire import descend, select, support
from tests.integration.server.wire import WireSite, chunks
from tests.support.notified import manager
from tests.support.server import (
    TIMEOUT,
    Server,
    Stubs,
    channel,
    command,
    new_pool,
    operate,
    pool_server,
    server_process,
    serving,
    wait_until,
)

ENDINGS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def capabilities(anchors) -> pool_pb2.GetCapabilitiesResponse:
    with channel(anchors) as opened:
        request = pool_pb2.GetCapabilitiesRequest(api_version="1.0")
        return Stubs(opened).pool.GetCapabilities(request, timeout=TIMEOUT, wait_for_ready=True)


def advertised(folder: Path) -> set[str]:
    return {"address", "operator.json"} & {path.name for path in folder.iterdir()}


class Trickle:
    """An upload that waits for the test before every message."""

    def __init__(self, stubs: Stubs) -> None:
        self._parts: queue.Queue = queue.Queue()
        self.call = stubs.contribute.Write.future(iter(self._parts.get, None), timeout=TIMEOUT)

    def send(self, *parts: pb.WriteRequest | None) -> None:
        for part in parts:
            self._parts.put(part)


# -- in this process ---------------------------------------------------------------------------------------------------


def test_a_call_that_runs_when_the_server_goes_down_gets_its_seconds(tmp_path, rng):
    with pool_server(tmp_path, drain_seconds=15.0) as server, channel(server.anchors) as opened:
        stubs = Stubs(opened)
        site = WireSite(server, stubs, "north").join()
        packed = site.random(rng)
        parts = list(chunks(site.begin(packed).upload_id, packed.weights))
        upload = Trickle(site.stubs)
        upload.send(parts[0])
        part = server.folder / "spool" / f"{packed.upload_id}.part"
        assert wait_until(lambda: part.is_file() and part.stat().st_size == len(parts[0].data))
        server.stop()
        assert wait_until(lambda: not advertised(server.folder) - {"operator.json"})
        with channel(server.anchors) as late, pytest.raises(grpc.RpcError):
            next(Stubs(late).pool.GetBlueprint(pool_pb2.GetBlueprintRequest(name="x"), timeout=2.0))
        upload.send(*parts[1:], None)
        assert upload.call.result().committed_size == len(packed.weights)
    with serving(server.folder) as again, again.stubs() as stubs:
        assert site.again(again, stubs).commit(packed.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_the_anchors_tell_the_address_of_the_running_server(tmp_path):
    folder = new_pool(tmp_path / "pool", advertise="localhost")
    before = read_anchors(folder / "pool.json")
    with serving(folder) as server:
        anchors = read_anchors(folder / "pool.json")
        assert anchors.address == server.address == (folder / "address").read_text().strip()
        assert anchors.address.startswith("localhost:")
        assert anchors.model_copy(update={"address": before.address}) == before
        assert capabilities(anchors).origin == server.trusted.origin
    assert advertised(folder) == set()


# -- a process ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return new_pool(tmp_path_factory.mktemp("home") / "pool")


@pytest.mark.parametrize("number", ENDINGS, ids=[one.name for one in ENDINGS])
def test_a_signal_ends_the_server_and_everything_of_it(home, number):
    with server_process(home) as process:
        assert capabilities(process.anchors).origin == "pool.local/log"
        assert advertised(home) == {"address", "operator.json"}
        assert process.end_group(number) == 0
        assert process.leftovers() == []
    assert advertised(home) == set()
    assert sorted(path.name for path in (home / "keys").iterdir())[-2:] == ["tls.crt", "tls.pem"]


def test_whoever_started_the_server_hears_when_it_is_ready_alive_and_going_down(home, tmp_path, monkeypatch):
    with manager(tmp_path, watchdog=0.5) as heard:
        for name, value in heard.variables.items():
            monkeypatch.setenv(name, value)
        with server_process(home, "--json", ready=False) as process:
            told = json.loads(process.wait_ready())
            assert told["address"] == process.address
            assert heard.hears("READY=1")
            assert heard.hears(f"STATUS=serving pool.local/log at {process.address}")
            heard.forget()
            assert heard.hears("WATCHDOG=1")
            assert "STOPPING=1" not in heard.said
            assert command("health", home).stdout == f"serving at {process.address}\n"
            assert process.end() == 0
            assert heard.hears("STOPPING=1")
    asked = command("health", home, "--address", told["address"], "--json")
    assert (asked.returncode, json.loads(asked.stdout)["error"]) == (5, "POOL_UNREACHABLE")


def test_a_killed_server_starts_again_and_an_upload_goes_on(tmp_path, rng):
    folder = new_pool(tmp_path / "pool")
    with server_process(folder) as process, channel(process.anchors) as opened:
        site = WireSite(RemoteServer(folder, process.anchors), Stubs(opened), "north").join()
        packed = site.random(rng)
        upload = Trickle(site.stubs)
        parts = list(chunks(site.begin(packed).upload_id, packed.weights))
        upload.send(*parts[:2])
        assert wait_until(lambda: site.status(packed.upload_id).committed_size == 2 * 4096)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        upload.send(None)
        with pytest.raises(grpc.RpcError):
            upload.call.result()
    assert advertised(folder) == {"address", "operator.json"}
    assert [one["state"] for one in operate(folder, "sites")] == ["ACTIVE"]
    with server_process(folder) as process, channel(process.anchors) as opened:
        site = site.again(RemoteServer(folder, process.anchors), Stubs(opened))
        assert site.status(packed.upload_id).committed_size == 2 * 4096
        site.write(list(chunks(packed.upload_id, packed.weights, 2 * 4096)))
        assert site.commit(packed.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE
        process.end(signal.SIGKILL)
    assert command("fsck", folder).returncode == 0


class RemoteServer(Server):
    """A server in another process, operated through its command line."""

    def __init__(self, folder: Path, anchors) -> None:
        super().__init__(folder, anchors.address, RemotePool(folder), None)


class RemotePool:
    """What `WireSite` needs of a pool, through the operator's door."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sites = self

    def invite(self, site, now, **terms):
        with operated(self._folder) as operator:
            return operator.sites.invite(site, now, **terms)

    def approve(self, site):
        with operated(self._folder) as operator:
            return operator.sites.approve(site)

    def blueprint(self, name):
        return load_blueprint(self._folder / "blueprints" / name)


# -- with Ray ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ray_workers_serve_and_end_with_their_server(tmp_path, rng):
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder) as process, channel(process.anchors) as opened:
        stubs = Stubs(opened)
        for name in ("north", "south"):
            WireSite(RemoteServer(folder, process.anchors), stubs, name).join().contribute(rng)
        progress, selection = select(stubs, *support(rng))
        assert progress
        assert len(selection.candidates) == 2
        header, raw, files = descend(stubs, selection.weights, max_params=10**6)
        assert header.total_bytes == len(raw)
        assert BUNDLE_FILE in files
        assert len(process.leftovers()) > 3  # Ray's processes
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()  # its workers compute, it hands on
        assert process.end_group(signal.SIGINT) == 0
        assert process.leftovers() == []


@pytest.mark.slow
def test_ray_ends_when_its_server_is_killed_or_asked_twice(tmp_path):
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder) as process:
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        assert wait_until(lambda: not process.leftovers(), 60)
    with server_process(folder) as process:
        process.popen.send_signal(signal.SIGINT)
        assert wait_until(lambda: "SIGINT: going down" in process.log.read_text())
        assert process.end(signal.SIGINT) in (0, 130)
        assert wait_until(lambda: not process.leftovers(), 60)
    for prefix in (
        slots.PREFIX,
        shared_images.PREFIX,
        RAY_PREFIX,
        operator_socket.PREFIX,
    ):  # what nobody could take away any more
        for parent in (slots.SHARED_MEMORY, Path(tempfile.gettempdir())):
            sweep(parent, prefix)
