"""Real pool servers for tests: on a thread of the test's process, or in a process of their own.

Both have the tiny blueprint, listen on loopback and serve without Ray unless they are told otherwise.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from genepool_protocol.machine import operator_door
from genepool_protocol.trust.anchors import Anchors, read_anchors
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.v1 import consume_pb2_grpc, contribute_pb2_grpc, pool_pb2, pool_pb2_grpc
from genepool_protocol.wire.versions import API_VERSION
from genepool_server import app, config
from genepool_server.commands.remote_operator import RemoteOperator
from genepool_server.pool.pool import OpenPool
from genepool_server.root.repository import Repository
from tests.support import warm
from tests.support.genes import write_seed

TIMEOUT = 20.0
_READY = 120.0


def new_pool(folder: Path, **changes: Any) -> Path:
    """An initialised pool folder with the tiny blueprint; `changes` are settings (`serving` ones in a dict)."""
    family = folder.parent / f"{folder.name}-blueprint" / "tiny-16"
    write_seed(family, np.random.default_rng(0))
    serving = {"workers": 0, "stall_seconds": 20.0} | changes.pop("serving", {})
    # random learngenes have nothing in common, so the screens would hold them
    values = {"listen": "127.0.0.1:0", "drain_seconds": 1.0, "screening": "off", **changes, "serving": serving}
    app.init(folder, config.parse(values, "the test"), [str(family)])
    return folder


@dataclass
class Server:
    """A server that answers; `pool` is the very object that it serves from."""

    folder: Path
    address: str
    pool: OpenPool
    serving: Any
    stop: Callable[[], Any] = lambda: None
    """Asks the server to go down; the end of the block waits for it."""
    metrics: str = ""
    """HOST:PORT of the numbers, where the settings ask for them."""
    dashboard: str = ""
    """Where a browser finds the dashboard, where the settings ask for it."""

    @property
    def anchors(self) -> Anchors:
        return read_anchors(self.folder / "pool.json")

    @property
    def trusted(self) -> Trusted:
        return Repository(self.folder / "trust").trusted()

    @contextmanager
    def stubs(self) -> Iterator["Stubs"]:
        with channel(self.anchors) as opened:
            yield Stubs(opened)


class Stubs:
    """Raw stubs on one channel, without anything of our client."""

    def __init__(self, opened: grpc.Channel) -> None:
        self.channel = opened
        self.pool = pool_pb2_grpc.PoolServiceStub(opened)
        self.log = pool_pb2_grpc.LogServiceStub(opened)
        self.trust = pool_pb2_grpc.TrustServiceStub(opened)
        self.enrolment = contribute_pb2_grpc.EnrolmentServiceStub(opened)
        self.contribute = contribute_pb2_grpc.ContributeServiceStub(opened)
        self.select = consume_pb2_grpc.SelectServiceStub(opened)
        self.descend = consume_pb2_grpc.DescendServiceStub(opened)


@contextmanager
def channel(anchors: Anchors) -> Iterator[grpc.Channel]:
    """A channel without a certificate."""
    credentials = grpc.ssl_channel_credentials(root_certificates=anchors.ca_pem.encode())
    with grpc.secure_channel(anchors.address, credentials) as opened:
        yield opened


def certified_channel(anchors: Anchors, key: SigningKey | None, chain: bytes | None) -> grpc.Channel:
    """A channel to the port where certificates are asked for; close it, or let it go."""
    with channel(anchors) as opened:
        request = pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION)
        port = Stubs(opened).pool.GetCapabilities(request, timeout=TIMEOUT, wait_for_ready=True).certified_port
    credentials = grpc.ssl_channel_credentials(anchors.ca_pem.encode(), key and key.pem(), chain)
    return grpc.secure_channel(f"{anchors.address.rpartition(':')[0]}:{port}", credentials)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The pool in a folder (see `new_pool`), served from a thread until the block ends."""
    ready: Future[app.Running] = Future()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(app.run(folder, config.load(folder), ready.set_result, stop))
        except BaseException as exc:
            if ready.done():
                raise
            ready.set_exception(exc)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def end() -> None:
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(stop.set)

    thread = threading.Thread(target=work, name="test-server")
    thread.start()
    try:
        running = ready.result(_READY)
        yield Server(folder, running.address, running.pool, running.serving, end, running.metrics, running.dashboard)
    finally:
        end()
        thread.join(_READY)


@contextmanager
def pool_server(parent: Path, **changes: Any) -> Iterator[Server]:
    """A fresh pool in `parent/pool`, served from a thread."""
    with serving(new_pool(parent / "pool", **changes)) as server:
        yield server


# -- the installed command --------------------------------------------------------------------------------------------


def command(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`genepool-server ARGUMENTS`, ended; a process of its own, forked where its imports end."""
    return warm.server().run([*map(str, arguments)], cwd)


def operate(folder: Path, verb: str, *arguments: str) -> Any:
    """The JSON answer of an operator's command, which must succeed."""
    done = command(verb, *arguments, "--dir", folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def operate_link(folder: Path) -> str:
    """A fresh log-in link for the dashboard, through the operator's socket."""
    path = operator_door.running(folder)
    assert path is not None
    with RemoteOperator(path, folder) as operator:
        return operator.open_dashboard()[0]


def _command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).parent / "genepool-server"), *map(str, arguments)]


@dataclass
class Process:
    """`genepool-server serve` in a process group of its own."""

    folder: Path
    popen: subprocess.Popen[str]
    log: Path
    ready: str = ""
    """The line that said that it serves."""

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def address(self) -> str:
        return (self.folder / "address").read_text().strip()

    @property
    def anchors(self) -> Anchors:
        return read_anchors(self.folder / "pool.json")

    def wait_ready(self) -> str:
        """The line that says that it serves."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.log.read_text()
        self.ready = line
        return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process alone and wait for it."""
        self.popen.send_signal(number)
        return self.popen.wait(60)

    def end_group(self, number: signal.Signals) -> int:
        """Signal it and all its children, as a terminal does, and wait for it."""
        os.killpg(self.popen.pid, number)
        return self.popen.wait(60)

    def leftovers(self) -> list[str]:
        """Command lines of processes of its session that live on."""
        return [line for pid, session, line in _processes() if session == self.pid and pid != self.pid]


@contextmanager
def server_process(folder: Path, *arguments: str, ready: bool = True, within: Sequence[str] = ()) -> Iterator[Process]:
    """`genepool-server serve FOLDER` as a process; nothing of it is left after the block.

    Args:
        folder: the pool's.
        arguments: options of `serve`.
        ready: whether to wait until it serves.
        within: a command that runs the server by exec.
    """
    log = folder.parent / f"{folder.name}.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("ab") as sink:
        popen = subprocess.Popen(
            [*within, *_command("serve", folder, *arguments)],
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env=environment,
            start_new_session=True,
        )
    process = Process(folder, popen, log)
    try:
        if ready:
            process.wait_ready()
        yield process
    finally:
        if popen.poll() is None:
            process.end()
        if process.leftovers():
            os.killpg(popen.pid, signal.SIGKILL)
        assert popen.stdout is not None
        popen.stdout.close()


def wait_until(condition: Any, seconds: float = 30.0) -> bool:
    """Whether the condition came true in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _processes() -> Iterator[tuple[int, int, str]]:
    """(process id, session id, command line) of everything that runs, zombies aside."""
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError, IndexError):
            continue
        if entry.name.isdigit() and state != "Z":
            yield int(entry.name), int(session), line
