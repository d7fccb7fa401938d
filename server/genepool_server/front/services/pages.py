"""Pages of descendants: bounded in rows and bytes; the token goes on behind the last row's digest."""

import base64
import re
from collections.abc import Sequence
from typing import Final

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.services.messages import descendant_message
from genepool_server.records import Descended

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def after(token: str) -> str:
    """The digest behind which a page begins; empty for the first page.

    Raises:
        InvalidInput: FIELD_MALFORMED.
    """
    if not token:
        return ""
    if not _TOKEN.fullmatch(token):
        raise InvalidInput("FIELD_MALFORMED", "the page token is none of this pool's", "begin at the first page")
    return base64.urlsafe_b64decode(token + "=").hex()


def page(rows: Sequence[Descended], most: int = LIMITS.chunk_bytes) -> pb.GetDescendantsResponse:
    """The answer with these rows, or with the first of them that fit into `most` bytes.

    Args:
        rows: a page of the ledger's, of at most LIMITS.page_rows listed ones.
        most: bytes; one row is always answered.
    """
    response, size = pb.GetDescendantsResponse(), 0
    for row in rows:
        message = descendant_message(row)
        size += message.ByteSize() + 4
        if response.descendants and row.sha256 and size > most:
            break
        response.descendants.append(message)
    cut = len(response.descendants) < len(rows)
    last = response.descendants[-1].sha256 if rows else ""
    # a row without a digest belongs to the end of the list, which is never cut: there are few of them
    if last and (cut or len(rows) >= LIMITS.page_rows):
        response.page_token = base64.urlsafe_b64encode(bytes.fromhex(last)).decode().rstrip("=")
    return response
