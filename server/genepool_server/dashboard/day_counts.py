"""Descents by day: what the ledger does not keep, counted while the server runs."""

import threading
from datetime import date
from typing import Final

_DAYS: Final = 30


class DayCounts:
    """How many descendants were handed over on each of the last days, since the server runs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._days: dict[date, int] = {}

    def count(self, day: date) -> None:
        """One more."""
        with self._lock:
            self._days[day] = self._days.get(day, 0) + 1
            for old in sorted(self._days)[:-_DAYS]:
                del self._days[old]

    def of(self, day: date) -> int:
        """How many on that day."""
        with self._lock:
            return self._days.get(day, 0)
