"""How a simulation tells where it is, and how long each phase took."""

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
    """Passes phases on to `watch` and notes the seconds that each took."""

    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[Report]:
        """One phase of the story."""
        started = time.monotonic()
        with self.watch.phase(label) as progress:
            yield progress
        self.seconds[label] = time.monotonic() - started
