"""The pool's own statements: what it does is signed by the release key, what its operator decides by the operator's.

Each is logged with the rows that it is about.

`record_decision` is the one seam: who changes the state of a site or contribution calls it in the same transaction.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from genepool_protocol.trust import envelope
from genepool_protocol.trust.events import Decision, Event, SiteEvent
from genepool_server.pool.log.log import Appended, Log
from genepool_server.pool.store.folder import PoolKeys

SiteEventName = Literal["invited", "enrolled", "approved", "suspended", "revoked", "rotated"]


def _now() -> datetime:
    return datetime.now(UTC)


class Notary:
    """Signs what the pool decides into its log.

    Args:
        log: where it is recorded.
        keys: sign it.
        now: the clock; the time in a statement is a claim, the log's order is what counts.
    """

    def __init__(self, log: Log, keys: PoolKeys, now: Callable[[], datetime] = _now) -> None:
        self._log = log
        self._keys = keys
        self._now = now

    @property
    def origin(self) -> str:
        """The pool's name."""
        return self._log.key.name

    def transaction(self) -> AbstractContextManager[Connection]:
        """See `Log.transaction`."""
        return self._log.transaction()

    def time(self) -> str:
        """Now, as statements have it."""
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def record_decision(self, tx: Connection, event: Event) -> Appended:
        """Sign an event and append it to the log.

        Args:
            tx: of `transaction`; the rows that the event is about change in it, too.
            event: about this pool.

        Raises:
            StorageError: LEDGER_INCONSISTENT.
        """
        payload = event.payload()
        key = self._keys.operator if event.by_operator else self._keys.release
        return self._log.append(tx, envelope.check(payload, key.sign(envelope.pae(payload)), key.public))

    def site_event(self, tx: Connection, site: str, event: SiteEventName, keyid: str, reason: str = "") -> Appended:
        """Record what happened to a site."""
        site_event = SiteEvent(pool=self.origin, time=self.time(), site=site, event=event, keyid=keyid, reason=reason)
        return self.record_decision(tx, site_event)

    def admitted(
        self,
        tx: Connection,
        contribution_id: str,
        sha256: str,
        *,
        passed: bool,
        policy: Literal["automatic", "operator"],
        screened: bool = False,
    ) -> Appended:
        """Record whether a contribution was admitted."""
        decision = Decision(
            pool=self.origin,
            time=self.time(),
            contribution_id=contribution_id,
            sha256=sha256,
            passed=passed,
            policy=policy,
            screened=screened,
        )
        return self.record_decision(tx, decision)
