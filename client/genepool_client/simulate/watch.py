"""How a simulation tells where it is, and what each phase took."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Report = Callable[[int, int, str], None]
"""Called with (done, total, note)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told.

    Attributes:
        phase: a context for each phase of the story; what it gives is called while the phase runs.
    """

    phase: Callable[[str], contextlib.AbstractContextManager[Report]]


@dataclass(frozen=True, slots=True)
class Clock:
    """Passes phases on to `watch` and notes what each took.

    Attributes:
        watch: who is told.
        seconds: by the clock on the wall, of each phase.
        cpu_seconds: of all processes in each phase, where somebody meters them.
        metered: answers the processor seconds that all processes have taken until now.
    """

    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    metered: Callable[[], float] | None = None

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[Report]:
        """One phase of the story."""
        started, before = time.monotonic(), self.metered() if self.metered else 0.0
        with self.watch.phase(label) as progress:
            yield progress
        self.seconds[label] = time.monotonic() - started
        if self.metered:
            self.cpu_seconds[label] = self.metered() - before
