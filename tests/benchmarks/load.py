"""Consumers in a closed loop, and one greedy consumer beside a polite one: what others feel of it.

The server and the greedy one are processes of their own; the polite one comes from another loopback address through
`tests.support.relay`. Everything is bounded in count and time and stays on 127.0.0.1.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np

from genepool_protocol.trust.anchors import Anchors, read_anchors
from genepool_protocol.v1 import consume_pb2, pool_pb2, types_pb2
from genepool_protocol.wire.versions import API_VERSION
from tests.benchmarks.timing import Row
from tests.integration.server.wire import WireSite
from tests.support.relay import seen_as
from tests.support.server import Stubs, new_pool, server_process, serving

Call = Callable[[Stubs], object]
_TIMEOUT = 30.0
_CHANNELS = 4
_TARGET = 3.0


def capabilities(stubs: Stubs) -> object:
    """What the pool can do."""
    return stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION), timeout=_TIMEOUT)


def _support(count: int, classes: int) -> consume_pb2.SelectRequest:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    labels = [index % classes for index in range(count)]
    return consume_pb2.SelectRequest(blueprint="tiny-16", pixels=pixels.tobytes(), labels=labels)


_SUPPORT = _support(64, 2)
_ORDER = consume_pb2.DescendRequest(
    blueprint="tiny-16", budget=types_pb2.SizeBudget(size=types_pb2.Size(depth=2, heads=2))
)


def select(stubs: Stubs) -> object:
    """A whole selection of 64 images."""
    return list(stubs.select.Select(_SUPPORT, timeout=_TIMEOUT))


def leave(stubs: Stubs) -> object:
    """A selection that is cancelled at its first event."""
    call = stubs.select.Select(_SUPPORT, timeout=_TIMEOUT)
    next(call)
    call.cancel()
    return None


def descend(stubs: Stubs) -> object:
    """A whole descendant."""
    return list(stubs.descend.Descend(_ORDER, timeout=_TIMEOUT))


def crawl(stubs: Stubs) -> object:
    """A descendant of which a message is taken each second."""
    for _ in stubs.descend.Descend(_ORDER, timeout=_TIMEOUT):
        time.sleep(1)
    return None


def blueprint(stubs: Stubs) -> object:
    """The blueprint with its seed."""
    request = pool_pb2.GetBlueprintRequest(name="tiny-16")
    return list(stubs.pool.GetBlueprint(request, timeout=_TIMEOUT))


def embeddings(stubs: Stubs) -> object:
    """All domain embeddings."""
    return list(stubs.select.ListKeys(consume_pb2.ListKeysRequest(blueprint="tiny-16"), timeout=_TIMEOUT))


def spin(_stubs: Stubs) -> object:
    """No call at all: what the machine alone costs others, for a greedy process keeps a core busy by itself."""
    end = time.monotonic() + 0.001
    while time.monotonic() < end:
        pass
    return None


CALLS: dict[str, Call] = {
    call.__name__: call for call in (capabilities, blueprint, embeddings, select, descend, leave, crawl, spin)
}

_GREEDY = {
    "capabilities": ("spin", "capabilities", "blueprint", "embeddings", "leave", "crawl"),
    "select": ("spin", "select", "leave", "crawl"),
    "descend": ("spin", "descend", "leave", "crawl"),
}
"""What the greedy one calls beside each call of the polite one."""

_TRIED = {
    "capabilities": ("capabilities", "blueprint", "embeddings"),
    "select": ("spin", "leave"),
    "descend": ("crawl",),
}
"""The same in a short try: nothing twice."""


@contextlib.contextmanager
def _channels(anchors: Anchors, count: int) -> Iterator[list[Stubs]]:
    """Connections of their own."""
    credentials = grpc.ssl_channel_credentials(anchors.ca_pem.encode())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with contextlib.ExitStack() as stack:
        yield [
            Stubs(stack.enter_context(grpc.secure_channel(anchors.address, credentials, options=options)))
            for _ in range(count)
        ]


def closed(anchors: Anchors, call: Call, consumers: int, seconds: float) -> tuple[list[float], int]:
    """The seconds of every call that was answered, and how many were refused."""
    took: list[float] = []
    refused = [0]
    end = time.monotonic() + seconds

    def loop(stubs: Stubs) -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                call(stubs)
            except grpc.RpcError:
                refused[0] += 1
                time.sleep(0.02)
            else:
                took.append(time.monotonic() - began)

    with _channels(anchors, min(consumers, _CHANNELS)) as stubs:
        threads = [threading.Thread(target=loop, args=(stubs[n % len(stubs)],)) for n in range(consumers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return took, refused[0]


@contextlib.contextmanager
def _greedy(anchors_file: Path, name: str, streams: int, seconds: float) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.benchmarks.load", str(anchors_file), name, str(streams), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def load(quick: bool, each: float = 3.0, workers: int = 1) -> list[Row]:
    """1, 4, 16 and 64 consumers, then the polite one alone and beside.

    Args:
        quick: whether it is a short try.
        each: seconds of one row.
        workers: Ray's, as `serving.workers`; 0: all of it in the server's own process.
    """
    seconds, crowds = (0.5, (1, 4)) if quick else (each, (1, 4, 16, 64))
    with tempfile.TemporaryDirectory() as name:
        served_by = {"workers": 0 if quick else workers}
        folder = new_pool(Path(name) / "pool", anonymous_consumers="everybody", serving=served_by)
        with serving(folder) as server, server.stubs() as stubs:
            site = WireSite(server, stubs, "north").join()
            for number in range(4):
                site.contribute(np.random.default_rng(number))
        with server_process(folder) as process:
            beside, streams = (_TRIED, 4) if quick else (_GREEDY, 60)
            return _rows(process.anchors, folder / "pool.json", seconds, crowds, beside, streams)


def _rows(
    anchors: Anchors,
    file: Path,
    seconds: float,
    crowds: tuple[int, ...],
    greedy: dict[str, tuple[str, ...]],
    streams: int,
) -> list[Row]:
    rows = []
    for call in (capabilities, select, descend):
        for consumers in crowds:
            took, refused = closed(anchors, call, consumers, seconds)
            detail = f"{refused} refused; p50 {_ms(took, 50)}, p99 {_ms(took, 99)} ms"
            rows.append(Row(f"{call.__name__}, {consumers} consumers", len(took) / seconds, None, detail, unit="/s"))
    with seen_as("127.0.0.9", anchors) as other:
        for call in (capabilities, select, descend):
            alone, _ = closed(other, call, 1, seconds)
            for name in greedy[call.__name__]:
                with _greedy(file, name, streams, 6 * seconds + 5):
                    beside, refused = closed(other, call, 1, 2 * seconds)
                rows.append(_beside(call.__name__, name, alone, beside, refused))
    return rows


def _beside(polite: str, greedy: str, alone: list[float], beside: list[float], refused: int) -> Row:
    detail = (
        f"{len(beside)} answered, {refused} refused; p50 {_ms(alone, 50)} -> {_ms(beside, 50)}, "
        f"p99 {_ms(alone, 99)} -> {_ms(beside, 99)} ms"
    )
    ratio = np.percentile(beside, 99) / np.percentile(alone, 99) if alone and beside else 1e9
    return Row(f"polite {polite} beside 60 x {greedy}: p99", float(ratio), _TARGET, detail)


def _ms(took: list[float], share: float) -> str:
    return f"{1e3 * np.percentile(took, share):.1f}" if took else "-"


def main() -> None:
    """Be the greedy one: `load ANCHORS CALL STREAMS SECONDS`; or, without arguments, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("anchors", type=Path, nargs="?")
    parser.add_argument("call", choices=CALLS, nargs="?")
    parser.add_argument("streams", type=int, nargs="?", default=60)
    parser.add_argument("seconds", type=float, nargs="?", default=20.0)
    parser.add_argument("--each", type=float, default=3.0, help="seconds of one row")
    parser.add_argument("--workers", type=int, default=1, help="Ray's; 0: without Ray")
    options = parser.parse_args()
    if options.anchors is None:
        for row in load(quick=False, each=options.each, workers=options.workers):
            sys.stdout.write(f"{row.what:48s} {row.value:8.2f} {row.unit:3s} {row.verdict:6s} {row.detail}\n")
            sys.stdout.flush()
        return
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    closed(read_anchors(options.anchors), CALLS[options.call], options.streams, options.seconds)


if __name__ == "__main__":
    main()
