"""What the metrics cost: two servers of one machine answer the same calls in turns, one of them counts."""

import contextlib
import secrets
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from genepool_protocol.machine.processes import free_port
from genepool_server.front.guards.calls import Call
from genepool_server.observing import access_log
from genepool_server.observing.meter import Meter
from tests.benchmarks.load import capabilities, descend
from tests.benchmarks.timing import Row
from tests.integration.server.wire import WireSite
from tests.support.server import Process, Stubs, channel, new_pool, server_process, serving

_TARGET = 1.05
_PORT = free_port()


class _Served:
    """A server and a client of it."""

    def __init__(self, process: Process, stubs: Stubs) -> None:
        self._process, self._stubs = psutil.Process(process.pid), stubs
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def play(self, call, count: int) -> None:
        """So many calls, one after the other."""
        began, before = time.perf_counter(), self._cpu()
        for _ in range(count):
            call(self._stubs)
        self.wall.append((time.perf_counter() - began) / count)
        self.cpu.append((self._cpu() - before) / count)

    def forget(self) -> None:
        self.wall, self.cpu = [], []

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


def _pool(folder: Path) -> Path:
    made = new_pool(folder, anonymous_consumers="everybody", quotas={"anonymous_descents_per_minute": 60_000})
    with serving(made) as server, server.stubs() as stubs:
        WireSite(server, stubs, "north").join()
    return made


def watching(quick: bool) -> list[Row]:
    """The server's CPU of one call with metrics, against the same without; the page itself."""
    rounds = 2 if quick else 12
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(server_process(_pool(Path(name) / kind / "pool"), *options))
            for kind, options in (("without", ()), ("with", ("--metrics", f"127.0.0.1:{_PORT}")))
        ]
        bare, counted = (
            _Served(process, Stubs(stack.enter_context(channel(process.anchors)))) for process in processes
        )
        rows = [
            _compared(call, bare, counted, rounds, count)
            for call, count in ((capabilities, 20 if quick else 400), (descend, 5 if quick else 40))
        ]
        return [*rows, _page(4 if quick else 40), _counting(100 if quick else 20_000)]


def _compared(call, bare: _Served, counted: _Served, rounds: int, count: int) -> Row:
    for served in (bare, counted):
        served.play(call, count)
        served.forget()
    for _ in range(rounds):
        for served in (bare, counted):
            served.play(call, count)
    wall = [1e6 * statistics.median(served.wall) for served in (bare, counted)]
    cpu = [1e6 * statistics.mean(served.cpu) for served in (bare, counted)]  # the system counts it in ticks of 10 ms
    detail = f"CPU {cpu[0]:.0f} -> {cpu[1]:.0f} us, wall {wall[0]:.0f} -> {wall[1]:.0f} us ({wall[1] / wall[0]:.3f} x)"
    return Row(f"metrics, server CPU of {call.__name__}", cpu[1] / max(cpu[0], 1e-9), _TARGET, detail)


def _page(times: int) -> Row:
    took, size = [], 0
    for _ in range(times):
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/metrics", timeout=20) as response:
            size = len(response.read())
        took.append(time.perf_counter() - began)
    return Row("metrics, one page", 1e3 * statistics.median(took), None, f"{size:,} bytes", unit="ms")


def _counting(times: int) -> Row:
    """What a call costs for being known: its id and record, the line that is not written for it, and its numbers."""
    meter = Meter()

    def play() -> None:
        call = Call("/genepool.v1.PoolService/GetCapabilities", secrets.token_hex(8))
        call.end("OK")
        access_log.record(call)
        meter.count(call)

    play()
    began = time.thread_time()
    for _ in range(times):
        play()
    return Row("metrics, counting one call", 1e6 * (time.thread_time() - began) / times, None, "CPU", unit="us")


if __name__ == "__main__":
    for row in watching(quick="--quick" in sys.argv):
        sys.stdout.write(f"{row.what:48s} {row.value:8.3f} {row.unit:3s} {row.verdict:6s} {row.detail}\n")
