"""The ledger's rows of the log: one function per question, each inside the caller's transaction."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from genepool_server.pool.store import schema


def leaf_hashes(tx: Connection, start: int = 0) -> Iterator[bytes]:
    """Hash of every leaf from `start` on, oldest first."""
    index = schema.leaf.c.log_index
    for row in tx.execute(select(schema.leaf.c.hash).where(index >= start).order_by(index)):
        yield row.hash


def raw(tx: Connection) -> list[Any]:
    """Every leaf's row, oldest first."""
    return list(tx.execute(select(schema.leaf).order_by(schema.leaf.c.log_index)))


def leaves(tx: Connection, start: int, count: int) -> list[bytes]:
    """Bodies of leaves [start, start + count)."""
    index = schema.leaf.c.log_index
    query = select(schema.leaf.c.body).where(index >= start, index < start + count).order_by(index)
    return list(tx.execute(query).scalars())


def statements(tx: Connection, start: int, count: int) -> list[bytes]:
    """Signed statements of leaves [start, start + count)."""
    index = schema.leaf.c.log_index
    query = select(schema.leaf.c.payload).where(index >= start, index < start + count).order_by(index)
    return list(tx.execute(query).scalars())


def add_leaf(tx: Connection, index: int, body: bytes, payload: bytes, leaf_hash: bytes) -> None:
    """A leaf and the statement that it is of; its index must be new."""
    tx.execute(insert(schema.leaf).values(log_index=index, body=body, payload=payload, hash=leaf_hash))


def add_checkpoint(tx: Connection, size: int, note: str) -> None:
    """The signed head of that size; there is one for a size."""
    tx.execute(insert(schema.checkpoint).values(size=size, note=note))


def replace_checkpoint(tx: Connection, size: int, note: str) -> None:
    """The same head by another key of the log: its text, and so its cosignatures, are as they were."""
    tx.execute(update(schema.checkpoint).where(schema.checkpoint.c.size == size).values(note=note))


def checkpoints(tx: Connection) -> dict[int, str]:
    """Every signed head, by size."""
    rows = tx.execute(select(schema.checkpoint).order_by(schema.checkpoint.c.size))
    return {row.size: row.note for row in rows}


def last_checkpoint(tx: Connection) -> str | None:
    """The signed head of the largest size."""
    size = select(func.max(schema.checkpoint.c.size)).scalar_subquery()
    note: str | None = tx.execute(
        select(schema.checkpoint.c.note).where(schema.checkpoint.c.size == size)
    ).scalar_one_or_none()
    return note


def checkpoint(tx: Connection, size: int) -> str:
    """The signed head of a size that there is."""
    note: str = tx.execute(select(schema.checkpoint.c.note).where(schema.checkpoint.c.size == size)).scalar_one()
    return note


def put_cosignature(tx: Connection, size: int, vkey: str, time: int, line: str) -> None:
    """A witness's cosignature of the head of that size, in place of an older one."""
    table = schema.cosignature
    which = (table.c.size == size, table.c.vkey == vkey)
    before = tx.execute(select(table.c.time).where(*which)).scalar_one_or_none()
    if before is None:
        tx.execute(insert(table).values(size=size, vkey=vkey, time=time, line=line))
    elif before < time:
        tx.execute(update(table).where(*which).values(time=time, line=line))


def is_newer(tx: Connection, size: int, vkey: str, time: int) -> bool:
    """Whether the ledger holds no cosignature of that head by that witness, or only an older one."""
    table = schema.cosignature
    which = (table.c.size == size, table.c.vkey == vkey)
    before = tx.execute(select(table.c.time).where(*which)).scalar_one_or_none()
    return before is None or before < time


def cosignatures(tx: Connection, size: int) -> list[tuple[str, str]]:
    """Verifier key and line of each cosignature of the head of that size, by key."""
    table = schema.cosignature
    query = select(table.c.vkey, table.c.line).where(table.c.size == size).order_by(table.c.vkey)
    return [(row.vkey, row.line) for row in tx.execute(query)]


def raw_cosignatures(tx: Connection) -> list[Any]:
    """Every cosignature's row."""
    return list(tx.execute(select(schema.cosignature).order_by(schema.cosignature.c.size)))


def cosigned(tx: Connection, vkeys: Sequence[str], most: int) -> dict[str, int]:
    """Verifier key -> the largest size, up to `most`, whose head that witness cosigned; without those that did none."""
    table = schema.cosignature
    query = select(table.c.vkey, func.max(table.c.size)).where(table.c.vkey.in_(vkeys), table.c.size <= most)
    return {vkey: int(size) for vkey, size in tx.execute(query.group_by(table.c.vkey))}


def largest_cosigned(tx: Connection, vkeys: Sequence[str], quorum: int, most: int) -> int | None:
    """The largest size, up to `most`, whose head so many of these witnesses cosigned."""
    table = schema.cosignature
    query = select(table.c.size).where(table.c.vkey.in_(vkeys), table.c.size <= most).group_by(table.c.size)
    query = query.having(func.count() >= quorum).order_by(table.c.size.desc()).limit(1)
    size: int | None = tx.execute(query).scalar_one_or_none()
    return size
