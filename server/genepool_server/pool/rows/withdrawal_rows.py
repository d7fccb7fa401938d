"""The ledger's rows of withdrawals and descendants: one function per question, each inside the caller's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from genepool_server.pool.store import schema
from genepool_server.records import Descended


def withdrawal(tx: Connection, contribution_id: str) -> Row[Any] | None:
    """The withdrawal of a contribution, if there is one."""
    table = schema.withdrawal
    return tx.execute(select(table).where(table.c.contribution_id == contribution_id)).one_or_none()


def raw(tx: Connection) -> list[Any]:
    """Every withdrawal, in the order of the log."""
    return list(tx.execute(select(schema.withdrawal).order_by(schema.withdrawal.c.log_index)))


def unfinished(tx: Connection) -> list[str]:
    """Contributions that were withdrawn and are not erased yet."""
    table = schema.withdrawal
    return list(tx.execute(select(table.c.contribution_id).where(table.c.erased.is_(None))).scalars())


def add(tx: Connection, contribution_id: str, log_index: int, receipt: bytes) -> None:
    """A withdrawal whose leaf was appended."""
    values = {"contribution_id": contribution_id, "log_index": log_index, "receipt": receipt, "erased": None}
    tx.execute(insert(schema.withdrawal).values(**values))


def set_erased(tx: Connection, contribution_id: str, log_index: int) -> None:
    """The leaf that says that the weights are gone."""
    table = schema.withdrawal
    tx.execute(update(table).where(table.c.contribution_id == contribution_id).values(erased=log_index))


def add_descendant(tx: Connection, made: Descended, day: str, most: int) -> None:
    """A descendant that is handed over; the same one again is counted.

    Args:
        tx: the transaction.
        made: the descendant.
        day: YYYY-MM-DD.
        most: descendants of a contribution that are listed one by one; more are one row for each size.
    """
    table, seen = schema.descendant, {"times": schema.descendant.c.times + 1, "last": day}
    if tx.execute(update(table).where(table.c.sha256 == made.sha256).values(**seen)).rowcount:
        return
    if made.members and max(_counts(tx, made.members).values(), default=0) >= most:
        _add_unlisted(tx, made, day)
        return
    row = {"sha256": made.sha256, "blueprint": made.blueprint, "size": made.size}
    tx.execute(insert(table).values(**row, times=1, first=day, last=day))
    rows = [{"descendant": made.sha256, "contribution_id": name} for name in made.members]
    if rows:
        tx.execute(insert(schema.member), rows)


def _counts(tx: Connection, names: Sequence[str]) -> dict[str, int]:
    column = schema.member.c.contribution_id
    query = select(column, func.count()).where(column.in_(names)).group_by(column)
    return {row[0]: row[1] for row in tx.execute(query)}


def _add_unlisted(tx: Connection, made: Descended, day: str) -> None:
    table = schema.unlisted
    for name in made.members:
        key = {"contribution_id": name, "blueprint": made.blueprint, "size": made.size}
        which = [table.c[column] == value for column, value in key.items()]
        if not tx.execute(update(table).where(*which).values(times=table.c.times + 1, last=day)).rowcount:
            tx.execute(insert(table).values(**key, times=1, first=day, last=day))


def descendant_count(tx: Connection, contribution_id: str) -> int:
    """How many rows `descendants` would give, all pages together."""
    return sum(
        tx.execute(select(func.count()).where(column == contribution_id)).scalar_one()
        for column in (schema.member.c.contribution_id, schema.unlisted.c.contribution_id)
    )


def descendants(tx: Connection, contribution_id: str, after: str, count: int) -> list[Descended]:
    """Descendants that were made from a contribution, by digest, then the rows of what was not listed.

    Args:
        tx: the transaction.
        contribution_id: whose.
        after: only digests behind this one; empty: from the first one on.
        count: rows at most, beside those of what was not listed, which end the list.
    """
    table, member = schema.descendant, schema.member
    mine = (member.c.contribution_id == contribution_id, member.c.descendant > after)
    query = select(table).join(member).where(*mine).order_by(member.c.descendant).limit(count)
    rows = list(tx.execute(query))
    listed = _descended(tx, rows)
    return listed if len(rows) == count else [*listed, *_unlisted(tx, contribution_id)]


def _unlisted(tx: Connection, contribution_id: str) -> list[Descended]:
    table = schema.unlisted
    query = select(table).where(table.c.contribution_id == contribution_id).order_by(table.c.blueprint, table.c.size)
    return [
        Descended("", row.blueprint, row.size, (contribution_id,), row.times, row.first, row.last)
        for row in tx.execute(query)
    ]


def descendant(tx: Connection, sha256: str) -> Descended | None:
    """The descendant of that digest of model.safetensors, if it was handed over."""
    rows = list(tx.execute(select(schema.descendant).where(schema.descendant.c.sha256 == sha256)))
    return _descended(tx, rows)[0] if rows else None


def descendants_by_first_day(tx: Connection, since: str) -> dict[str, int]:
    """Day -> how many descendants were handed over for the first time on it, from a day on."""
    day = schema.descendant.c.first
    return {row[0]: row[1] for row in tx.execute(select(day, func.count()).where(day >= since).group_by(day))}


def descendant_totals(tx: Connection) -> tuple[int, int]:
    """How many descendants are listed, and how often they were handed over together."""
    count, times = tx.execute(select(func.count(), func.sum(schema.descendant.c.times))).one()
    return int(count), int(times or 0)


def states(tx: Connection, names: Sequence[str]) -> dict[str, str]:
    """State of each of these contributions that exist."""
    table = schema.contribution
    query = select(table.c.contribution_id, table.c.state).where(table.c.contribution_id.in_(names))
    return {row.contribution_id: row.state for row in tx.execute(query)}


def _descended(tx: Connection, rows: Sequence[Any]) -> list[Descended]:
    member = schema.member
    query = select(member).where(member.c.descendant.in_([row.sha256 for row in rows]))
    members: dict[str, list[str]] = {}
    for row in tx.execute(query.order_by(member.c.contribution_id)):
        members.setdefault(row.descendant, []).append(row.contribution_id)
    return [
        Descended(
            row.sha256, row.blueprint, row.size, tuple(members.get(row.sha256, ())), row.times, row.first, row.last
        )
        for row in rows
    ]
