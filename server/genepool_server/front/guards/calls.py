"""What is noted of a call while it runs, for the access log and the metrics: who, what and how it ended, no content.

Services say what they moved by `note`; a refused call's own words are noted by nobody, for a stranger chose them.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from genepool_protocol.wire.errors import REASONS, GenepoolError
from genepool_server.serving.peers import HOUSE, Peer


@dataclass(slots=True)
class Call:
    """One call of a method, from its headers to its end. For one event loop.

    Attributes:
        method: full name, for instance /genepool.v1.SelectService/Select.
        request: its id, 16 hex digits.
        peer: who calls; the house: the operator of this machine.
        site: a site that the call made known, when it is not the caller.
        digest: hex, of what was received or handed over.
        size: bytes of it.
        state: what became of it.
        code: name of the gRPC status; empty while the call runs.
        reason: of the refusal; empty where there is none.
        began: monotonic seconds.
        seconds: how long it took, once it has ended.
    """

    method: str
    request: str
    peer: Peer = HOUSE
    site: str = ""
    digest: str = ""
    size: int = 0
    state: str = ""
    code: str = ""
    reason: str = ""
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def refuse(self, refusal: GenepoolError) -> None:
        """Note that it ends with an error."""
        row = REASONS.get(refusal.reason)
        self.reason, self.code = refusal.reason, row.code if row else "INTERNAL"

    def end(self, code: str) -> None:
        """Note that it is over.

        Args:
            code: name of the status, unless it was noted before.
        """
        self.code = self.code or code
        self.seconds = time.monotonic() - self.began


CALL: Final[ContextVar[Call | None]] = ContextVar("genepool_call", default=None)
"""The call that the running task answers; the outermost interceptor sets it."""


def note(*, digest: str = "", size: int = 0, state: str = "", site: str = "") -> None:
    """Say what the running call received or handed over; sizes add up. Nothing happens outside of a call."""
    call = CALL.get()
    if call is not None:
        call.digest, call.state, call.site = digest or call.digest, state or call.state, site or call.site
        call.size += size
