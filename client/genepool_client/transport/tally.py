"""How this process's calls to pools went: how many, how they ended, how long they took. Sums only, and no pool's name.

A tally can be added to a file, so that a process that lives on shows the calls of those that ended.
"""

import json
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from genepool_client.transport.durable import write_json
from genepool_protocol.v1 import consume_pb2, contribute_pb2, pool_pb2
from genepool_protocol.wire.errors import REASONS, GenepoolError

CALLS_FILE: Final = "calls.json"
"""The file in a site's folder: the process that contributes ends with each invitation."""

SECONDS: Final = (0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0)
"""Upper ends of the buckets of durations; one more bucket takes what is longer."""

_METHODS: Final = {
    method.input_type.full_name: f"{service.name}/{method.name}"
    for module in (pool_pb2, contribute_pb2, consume_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Full name of a request -> service and method: each method has a request of its own."""

METHODS: Final = frozenset(_METHODS.values())
CODES: Final = frozenset({"OK", "CANCELLED", "UNKNOWN", *(row.code for row in REASONS.values())})


@dataclass(slots=True)
class MethodTally:
    """The calls of one method: how many ended with each status, seconds together, and how many lie in each bucket."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))

    def add(self, other: "MethodTally") -> None:
        """Add another one's figures."""
        self.codes.update(other.codes)
        self.seconds += other.seconds
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]


class Tally:
    """Counts calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._methods: dict[str, MethodTally] = {}

    def add(self, request: type[Message], code: str, seconds: float) -> None:
        """Count a call that is over."""
        single = MethodTally(Counter({code: 1}), seconds)
        single.buckets[bisect_left(SECONDS, seconds)] = 1
        self._merge({_METHODS.get(request.DESCRIPTOR.full_name, "other"): single})

    @contextmanager
    def counting(self, request: type[Message]) -> Iterator[None]:
        """Count the call that the block makes; it raises our errors."""
        began, code = time.monotonic(), "OK"
        try:
            yield
        except GenepoolError as exc:
            code = REASONS[exc.reason].code if exc.reason in REASONS else "UNKNOWN"
            raise
        except GeneratorExit:
            code = "CANCELLED"
            raise
        finally:
            self.add(request, code, time.monotonic() - began)

    def methods(self) -> dict[str, MethodTally]:
        """What was counted, by service and method."""
        with self._lock:
            return dict(self._methods)

    def move_to(self, path: Path) -> None:
        """Add what was counted to a file, and begin anew; one process at a time.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._lock:
            counted, self._methods = self._methods, {}
        whole = read(path)
        whole._merge(counted)  # noqa: SLF001 - another one of us
        rows = {
            name: {"codes": dict(row.codes), "seconds": round(row.seconds, 3), "buckets": row.buckets}
            for name, row in whole.methods().items()
        }
        write_json(path, {"schema": "genepool.calls/v1", "methods": rows})

    def _merge(self, counted: dict[str, MethodTally]) -> None:
        with self._lock:
            for name, row in counted.items():
                self._methods.setdefault(name, MethodTally()).add(row)


TALLY: Final = Tally()
"""The calls of this process."""


def read(path: Path) -> Tally:
    """The tally in a file; an empty one when it is missing or malformed, for these figures are worth no failure."""
    tally = Tally()
    try:
        rows = json.loads(path.read_bytes())["methods"]
        parsed = {name: _row(value) for name, value in rows.items() if name in METHODS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return tally
    tally._merge(parsed)  # noqa: SLF001 - made here
    return tally


def _row(value: Any) -> MethodTally:
    row = MethodTally(
        Counter({code: int(count) for code, count in value["codes"].items() if code in CODES}),
        float(value["seconds"]),
        [int(count) for count in value["buckets"]],
    )
    if len(row.buckets) != len(SECONDS) + 1:
        raise ValueError("the buckets are of another version")
    return row
