"""What a site's reply claims, and what became of the invitation; values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput

Result = Literal["accepted", "refused", "failed", "silent"]
"""The pool confirms it; the pool does not; the site answered an error; no answer in time."""


@dataclass(frozen=True, slots=True)
class ReceiptClaim:
    """A site's receipt as it came through Flower: nothing of it is true before the pool confirmed it."""

    contribution_id: str
    sha256: str
    size_bytes: int
    status: str
    code: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One invited site."""

    node: int
    name: str
    result: Result
    reason: str = ""
    claim: ReceiptClaim | None = None


def claim_of(record: Mapping[str, Any]) -> ReceiptClaim:
    """The claim in the members of a reply's `receipt` record.

    Raises:
        InvalidInput: FILE_MALFORMED.
    """
    texts = {name: record.get(name) for name in ("contribution-id", "sha256", "status", "code")}
    size = record.get("size-bytes")
    if set(record) != {*texts, "size-bytes"} or type(size) is not int:
        raise _bad("its members are not those of a receipt")
    short = {name: value for name, value in texts.items() if isinstance(value, str) and len(value) <= 128}
    if len(short) != len(texts) or not all(digest.is_sha256_hex(short[name]) for name in ("contribution-id", "sha256")):
        raise _bad("a member is not of a receipt's form")
    return ReceiptClaim(short["contribution-id"], short["sha256"], size, short["status"], short["code"])


def _bad(why: str) -> InvalidInput:
    return InvalidInput("FILE_MALFORMED", f"the reply is no receipt: {why}", "update genepool at that site")
