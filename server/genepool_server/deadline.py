"""Limits in time: a block that lasts longer ends with a reason of ours, and no other timeout is taken for it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from genepool_protocol.wire.errors import Unavailable


@asynccontextmanager
async def within(
    seconds: float, problem: str, fix: str = "call again", *, retry_seconds: int = 1
) -> AsyncGenerator[None]:
    """A block that may last so long.

    Args:
        seconds: it may last.
        problem: what is said of one that lasts longer, without the seconds: "the call did not end".
        fix: what the caller can do.
        retry_seconds: after which it may call again.

    Raises:
        Unavailable: TOO_SLOW.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise Unavailable(
            "TOO_SLOW", f"{problem} within {seconds:g} seconds", fix, retry_seconds=str(retry_seconds)
        ) from exc
