"""Which browsers are the operator's: a link logs one in, once; then a cookie says so, for a while.

Both are random, known here by their hashes alone, and in memory: no restart is survived.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

LINK_SECONDS: Final = 120
"""Seconds within which a link must be used."""

SESSION_SECONDS: Final = 8 * 3600
"""Seconds after which a session ends, whatever happens."""

IDLE_SECONDS: Final = 30 * 60
"""Seconds without a page after which it ends."""

_LINKS: Final = 8
_SESSIONS: Final = 16
_BYTES: Final = 32


class Logins:
    """Links and sessions. Thread-safe; of too many the oldest gives way.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._links: dict[bytes, float] = {}  # hash -> when it ends
        self._sessions: dict[bytes, tuple[float, float]] = {}  # hash -> when it ends, and when without a page

    def link(self) -> str:
        """A fresh secret that logs in once."""
        secret, now = secrets.token_urlsafe(_BYTES), self._clock()
        with self._lock:
            self._forget(now)
            _make_room(self._links, _LINKS)
            self._links[_hash(secret)] = now + LINK_SECONDS
        return secret

    def waits(self, secret: str) -> bool:
        """Whether that link can still be used; it is not used up by asking."""
        with self._lock:
            self._forget(self._clock())
            return _hash(secret) in self._links

    def enter(self, secret: str) -> str:
        """Use a link up: the session's secret, empty when the link is none, too old, or was used."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            if self._links.pop(_hash(secret), None) is None:
                return ""
            session = secrets.token_urlsafe(_BYTES)
            _make_room(self._sessions, _SESSIONS)
            self._sessions[_hash(session)] = now + SESSION_SECONDS, now + IDLE_SECONDS
        return session

    def known(self, session: str) -> bool:
        """Whether a session lasts; it then does for `IDLE_SECONDS` more, up to its end."""
        now, key = self._clock(), _hash(session)
        with self._lock:
            self._forget(now)
            if key not in self._sessions:
                return False
            self._sessions[key] = self._sessions[key][0], now + IDLE_SECONDS
        return True

    def leave(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_hash(session), None)

    def _forget(self, now: float) -> None:
        self._links = {key: end for key, end in self._links.items() if now < end}
        self._sessions = {key: ends for key, ends in self._sessions.items() if now < min(ends)}


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def _make_room(held: dict[bytes, Any], most: int) -> None:
    while len(held) >= most:
        held.pop(next(iter(held)))
