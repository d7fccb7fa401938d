"""What clients on the network are told of the pool's own failures: one sentence a reason, and nothing of the machine.

Addresses, paths, users and what a database or disk said stand in the server's log, and on the operator's socket.
"""

import logging
from types import MappingProxyType
from typing import Final

from genepool_protocol.wire.errors import GenepoolError, StorageError, error

_log = logging.getLogger(__name__)

_LATER: Final = "try again later; the cause is in the server's log"
_OPERATOR: Final = "tell the pool's operator; the cause is in the server's log"

SENTENCES: Final = MappingProxyType(
    {
        "DISK_FULL": ("the pool's disk is full", "try again later; the operator must free some space"),
        "DISK_FAILED": ("the pool's disk failed", _LATER),
        "LEDGER_INCONSISTENT": ("the pool's ledger failed", _OPERATOR),
        "BLOB_CORRUPT": ("a file of the pool is not what its ledger names", _OPERATOR),
        "LEDGER_VERSION": ("the pool's ledger is of another version", _OPERATOR),
        "STORE_UNAVAILABLE": ("the pool's store does not answer", _LATER),
        "SERVING_UNAVAILABLE": ("the pool's workers cannot work now", _LATER),
        "BUSY": ("the pool is busy", "try again in a minute"),
        "INTERNAL": ("the pool failed", "try again; the cause is in the server's log"),
        "FOLDER_IN_USE": ("the pool's store is in use", _LATER),
        "PORT_IN_USE": ("the pool cannot listen", _LATER),
        "CONFIG_INVALID": ("the pool is not set up right", _OPERATOR),
        "DEPENDENCY_MISSING": ("the pool is not set up right", _OPERATOR),
        "PATH_MISSING": ("the pool is not set up right", _OPERATOR),
        "PATH_NOT_EMPTY": ("the pool is not set up right", _OPERATOR),
        "KEY_EXPOSED": ("the pool is not set up right", _OPERATOR),
        "POOL_UNKNOWN": ("the pool is not set up right", _OPERATOR),
    }
)
"""Reason -> sentence and fix; the facts of `metadata` that say when to come back are kept."""

_OWN: Final = frozenset({"BUSY", "SERVING_UNAVAILABLE"})
"""Reasons that are also raised by our gates, whose words are about calls: kept unless another program said them."""


def constant(found: GenepoolError) -> GenepoolError:
    """The error as strangers may see it.

    Args:
        found: what a service raised.
    """
    row = SENTENCES.get(found.reason)
    if row is None and isinstance(found, StorageError):
        row = SENTENCES["INTERNAL"]
    if row is None or (found.reason in _OWN and found.__cause__ is None):
        return found
    _log.warning("%s: %s", found.reason, found.diagnostics())
    facts = {name: text for name, text in found.metadata.items() if name == "retry_seconds"}
    return error(found.reason, *row, **facts)
