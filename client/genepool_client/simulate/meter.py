"""What a simulation costs: processor seconds and memory of this process and of all that it started."""

import contextlib
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import psutil

_EVERY: Final = 1.0  # seconds between two looks
_MEMORY: Final = 3
"""Looks at processor time for one at memory, for which the kernel walks through a process's pages."""

_Key = tuple[int, float]
"""Number and beginning of a process, which together name it for ever."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used until now.

    Attributes:
        cpu_seconds: of all processes, also of those that ended.
        peak_bytes: most memory at one look, shared pages counted once (the sum of proportional set sizes).
    """

    cpu_seconds: float
    peak_bytes: int


class CostMeter:
    """Looks at this process and its descendants on a thread of its own while the block runs.

    A process that lived shorter than a second between two looks is not seen; whoever lost its parent still is.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, psutil.Process] = {}
        self._cpu: dict[_Key, float] = {}
        self._peak = 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def usage(self) -> Usage:
        """What was used until now, looked at once more."""
        self._look(memory=True)
        with self._lock:
            return Usage(sum(self._cpu.values()), self._peak)

    def _run(self) -> None:
        look = 0
        while not self._ended.wait(_EVERY):
            self._look(memory=look % _MEMORY == 0)
            look += 1

    def _look(self, *, memory: bool) -> None:
        with self._lock:
            for process in _family():
                self._known.setdefault((process.pid, process.create_time()), process)
            held = 0
            for key, process in list(self._known.items()):
                try:
                    times = process.cpu_times()
                    self._cpu[key] = max(self._cpu.get(key, 0.0), times.user + times.system)
                    held += _proportional(process) if memory else 0
                except psutil.Error:
                    del self._known[key]
            self._peak = max(self._peak, held)


def _family() -> list[psutil.Process]:
    ours = psutil.Process()
    members = [ours]
    with contextlib.suppress(psutil.Error):
        members += ours.children(recursive=True)
    return members


def _proportional(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.AccessDenied, psutil.ZombieProcess):
        return int(getattr(process.memory_full_info(), "pss", 0))
    return 0
