"""A pool's keys, one after the other, each with the part of the log that it speaks for.

When a key was replaced, the log says by its order and not by anybody's clock: a log key signs heads of the sizes from
`first` to `last`, a key for statements the leaves from index `first` to before `end`.
"""

from dataclasses import dataclass
from typing import Self

from genepool_protocol.trust.keys import LogVerifier, VerifyingKey


@dataclass(frozen=True, slots=True)
class LogSpan:
    """A log key, and the sizes of the heads that it may sign; both ends belong to it, None is no end."""

    key: LogVerifier
    first: int = 0
    last: int | None = None


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of one log, oldest first; the size at which one took over is signed by both."""

    spans: tuple[LogSpan, ...]

    @classmethod
    def of(cls, log: "LogVerifier | LogKeys") -> "LogKeys":
        """The keys of a log that has one, or of one that has had several."""
        return log if isinstance(log, LogKeys) else cls((LogSpan(log),))

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.spans[0].key.name

    @property
    def log_id(self) -> bytes:
        """Names the log for ever: Sigstore's id of its first key."""
        return self.spans[0].key.log_id

    @property
    def current(self) -> LogVerifier:
        """The key that signs now."""
        return self.spans[-1].key

    def at(self, size: int) -> list[LogVerifier]:
        """Who may sign a head of that size, the newest last."""
        return [span.key for span in self.spans if span.first <= size and (span.last is None or size <= span.last)]


AnyLog = LogVerifier | LogKeys
"""A log by its one key, or by all that it has had."""


@dataclass(frozen=True, slots=True)
class KeySpan:
    """A key for statements, and the leaves that it may sign.

    Attributes:
        key: P-256.
        first: index of the first leaf.
        end: index of the first one that is no longer its own; None: there is no end yet.
        compromised: somebody else has it, so what is not in the log is worth nothing under it.
    """

    key: VerifyingKey
    first: int = 0
    end: int | None = None
    compromised: bool = False


@dataclass(frozen=True, slots=True)
class StatementKeys:
    """The keys of one role of the pool, oldest first."""

    spans: tuple[KeySpan, ...]

    @classmethod
    def of(cls, key: VerifyingKey) -> Self:
        """A role that has had one key."""
        return cls((KeySpan(key),))

    @property
    def current(self) -> VerifyingKey:
        """The key that signs now."""
        return self.spans[-1].key

    def speaks(self, keyid: str, index: int) -> bool:
        """Whether the key may sign the leaf at that index."""
        span = self.find(keyid)
        return span is not None and span.first <= index and (span.end is None or index < span.end)

    def find(self, keyid: str) -> KeySpan | None:
        """The key with that id, whenever it signed."""
        return next((span for span in self.spans if span.key.keyid == keyid), None)
