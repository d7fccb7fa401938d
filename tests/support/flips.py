"""A ledger with one bit turned."""

from collections.abc import Iterator, Sequence

from genepool_server.pool.store import schema

_OPERATORS_WORD = {("site", "name"), ("contribution", "note")}
"""Columns without a second source, or names of others."""


def columns(tables: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(table, column) of everything in which a turned bit must be found."""
    for table in tables:
        for column in schema.metadata.tables[table].columns:
            if (table, column.name) not in _OPERATORS_WORD:
                yield table, column.name


def flipped(value: int | str | bytes) -> int | str | bytes:
    """The value with one bit turned."""
    if isinstance(value, int):
        return value ^ (1 << 40)
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[len(data) // 2] ^= 1
    return data.decode() if isinstance(value, str) else bytes(data)
