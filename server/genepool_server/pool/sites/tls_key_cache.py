"""The registry in memory: who a TLS key belongs to, asked on every call and at every message of a stream.

The pool is the one writer of its ledger, so what lies here is the ledger's state as of the last change: a suspended or
revoked site is refused at its very next message.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from genepool_protocol.wire.documents import moment
from genepool_server.pool.rows import registry_rows
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import SiteState


@dataclass(frozen=True, slots=True)
class Holder:
    """What the ledger says of a TLS key.

    Attributes:
        site: whose it is.
        state: of the site.
        roles: of the site.
        ends: until when the key is accepted, once it was replaced.
    """

    site: str
    state: SiteState
    roles: frozenset[str]
    ends: datetime | None


class Registry:
    """The holder of every TLS key. Thread-safe.

    Args:
        ledger: where it is kept.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._holders: Mapping[str, Holder] | None = None

    def holder(self, keyid: str) -> Holder | None:
        """What is known of a TLS key; None for a stranger's.

        Raises:
            StorageError: LEDGER_INCONSISTENT, DISK_FULL or DISK_FAILED: nobody can be told apart, so nobody enters.
        """
        holders = self._holders
        return (self.reload() if holders is None else holders).get(keyid)

    def forget(self) -> None:
        """Read the ledger again at the next question: a change of it ended in a way that is not known."""
        with self._lock:
            self._holders = None

    def reload(self) -> Mapping[str, Holder]:
        """Read the ledger again, after a change of it.

        Raises:
            StorageError: as `holder`; the next call reads it.
        """
        with self._lock:  # else an older reading could take the place of a newer one
            self._holders = None
            with self._ledger.read() as tx:
                roles = registry_rows.roles(tx)
                rows = registry_rows.tls_keys(tx)
            self._holders = {
                row.keyid: Holder(
                    row.site,
                    row.state,
                    frozenset(roles.get(row.site, ())),
                    moment(row.ends) if row.ends else None,
                )
                for row in rows
            }
            return self._holders
