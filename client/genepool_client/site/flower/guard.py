"""What may leave a site through Flower: one small receipt of exactly known members, or a constant error (`failures`).

The mod wraps every function of the ClientApp, so that a mistake in one of them cannot leak. It is no defence against
hostile code, which the site never runs: its app bundle carries none.
"""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from genepool_client.site.flower import failures
from genepool_client.site.flower.failures import SiteFailure
from genepool_protocol.wire.errors import GenepoolError

_log = logging.getLogger(__name__)

RECORD: Final = "receipt"
MEMBERS: Final[dict[str, type]] = {
    "contribution-id": str,
    "sha256": str,
    "size-bytes": int,
    "status": str,
    "code": str,
}
MAX_TEXT: Final = 128  # characters of a member


def violation(content: RecordDict) -> str | None:
    """The rule that a reply breaks, or None; for the site's log only, since names in a reply are not to be trusted."""
    if set(content.keys()) != {RECORD}:
        return f"a reply holds the one record {RECORD!r}"
    record = content[RECORD]
    if not isinstance(record, ConfigRecord):
        return f"the receipt is a {type(record).__name__}"
    if {name: type(value) for name, value in record.items()} != MEMBERS:
        return f"the receipt has {len(record)} members, and they are not those of a receipt"
    if any(isinstance(value, str) and len(value) > MAX_TEXT for value in record.values()):
        return f"a member is longer than {MAX_TEXT} characters"
    return None


def _cause(exc: Exception) -> str:
    """Reason or kind of an error, and where in the code it was raised; not its text."""
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__)[-3:]]
    kind = exc.reason if isinstance(exc, GenepoolError) else type(exc).__name__
    return f"{kind} at {' < '.join(reversed(places))}; genepool site contribute DIR says more"


def receipt_only_mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """A Flower mod: lets a receipt through, and nothing else."""
    try:
        reply = call_next(message, context)
    except Exception as exc:  # noqa: BLE001 - whatever it is, its text may name files or people, and Flower would send it
        _log.error("the contribution failed: %s", _cause(exc))
        return _error(failures.of(exc), message)
    if reply.has_error():
        _log.error("the reply was an error of code %d", reply.error.code)
        return _error(failures.FAILED, message)
    why = violation(reply.content)
    if why is not None:
        _log.error("egress guard: %s", why)
        return _error(failures.GUARDED, message)
    return reply


def _error(failure: SiteFailure, message: Message) -> Message:
    return Message(Error(code=failure.code, reason=failure.sentence), reply_to=message)
