"""Remote selection: the support set's pixels go to the pool, which runs TALS and forgets them."""

import contextlib
from collections.abc import Sequence
from typing import Final

from genepool_client.consumer.select.selection import Selection
from genepool_client.consumer.select.support import Support
from genepool_client.transport.channel import Connection
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.progress import Progress
from genepool_protocol.v1 import consume_pb2
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Refused, Unavailable
from genepool_protocol.wire.limits import LIMITS

_FRAME: Final = 64 << 10
"""Bytes of a message that are not pixels, at most."""


def select(
    connection: Connection, blueprint: Blueprint, support: Support, licenses: Sequence[str], progress: Progress
) -> Selection:
    """TALS on the pool's workers.

    Args:
        connection: to the pool.
        blueprint: one of the pool's.
        support: its pixels leave this machine.
        licenses: SPDX names that may take part; empty: all.
        progress: called with what the pool reports.

    Raises:
        InvalidInput: SUPPORT_TOO_LARGE, the pixels do not fit into one message; or what the pool finds wrong.
        Refused: POOL_EMPTY.
        GenepoolError: as `Connection.stream`.
    """
    raw = support.pixels.tobytes()
    if len(raw) > LIMITS.message_bytes - _FRAME:
        raise InvalidInput(
            "SUPPORT_TOO_LARGE",
            f"{len(support.pixels)} images are {len(raw)} bytes of pixels, one message holds {LIMITS.message_bytes}",
            "select privately (--private), or with fewer images",
        )
    request = consume_pb2.SelectRequest(
        blueprint=blueprint.name, pixels=raw, labels=support.wire_labels, licenses=licenses
    )
    try:
        with contextlib.closing(connection.stream(connection.select.Select, request)) as events:
            for event in events:
                if event.WhichOneof("event") == "selection":
                    return Selection.of_message(blueprint.name, event.selection)
                progress(event.progress.done, event.progress.total, event.progress.stage)
    except GenepoolError as exc:
        raise explain_empty(exc, licenses) from exc
    raise Unavailable(
        "POOL_UNREACHABLE", f"the pool at {connection.address} ended a selection without an answer", "try again"
    )


def explain_empty(exc: GenepoolError, licenses: Sequence[str]) -> GenepoolError:
    """The same refusal, with the filter named when it is what left nothing to select from."""
    if exc.reason != "POOL_EMPTY" or not licenses:
        return exc
    return Refused(
        "POOL_EMPTY",
        f"the pool holds no active learngene under {', '.join(sorted(licenses))}",
        "allow more licences, or none at all to allow every one",
    )
