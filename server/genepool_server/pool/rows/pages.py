"""Long answers in short reads: each page is a transaction of its own, and goes on behind the last row's key.

A key, not an offset: rows that come or go meanwhile neither repeat others nor hide them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

PAGE: Final = 256
"""Rows of one read; a contribution with its evidence has some kilobytes."""

_Row = TypeVar("_Row")
_Key = TypeVar("_Key", str, int)


def paged(read: Callable[[_Key, int], Sequence[_Row]], key: Callable[[_Row], _Key], first: _Key) -> Iterator[_Row]:
    """Every row, without holding more than a page of them.

    Args:
        read: up to so many rows behind a key, in its order; fewer only at the end.
        key: of a row.
        first: lies before every key.
    """
    after = first
    while rows := read(after, PAGE):
        yield from rows
        last = key(rows[-1])
        if len(rows) != PAGE or last <= after:  # rows without a key end a list, and may fill its last page
            return
        after = last
