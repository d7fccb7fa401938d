"""The ledger's rows of withdrawals and descendants: one function per question, each inside the caller's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from genepool_server.pool import schema
from genepool_server.pool.view import Descended


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


def add_descendant(tx: Connection, made: Descended) -> None:
    """A descendant that is handed over; the same one again changes nothing."""
    table = schema.descendant
    if tx.execute(select(table.c.sha256).where(table.c.sha256 == made.sha256)).first() is not None:
        return
    tx.execute(insert(table).values(sha256=made.sha256, blueprint=made.blueprint, size=made.size))
    rows = [{"descendant": made.sha256, "contribution_id": name} for name in made.members]
    if rows:
        tx.execute(insert(schema.member), rows)


def descendants(tx: Connection, contribution_id: str) -> list[Descended]:
    """Descendants that were made from a contribution, by digest."""
    table, member = schema.descendant, schema.member
    query = select(table).join(member).where(member.c.contribution_id == contribution_id).order_by(table.c.sha256)
    return [_descended(tx, row) for row in tx.execute(query).all()]


def descendant(tx: Connection, sha256: str) -> Descended | None:
    """The descendant of that digest of model.safetensors, if it was handed over."""
    row = tx.execute(select(schema.descendant).where(schema.descendant.c.sha256 == sha256)).one_or_none()
    return None if row is None else _descended(tx, row)


def states(tx: Connection, names: Sequence[str]) -> dict[str, str]:
    """State of each of these contributions that exist."""
    table = schema.contribution
    query = select(table.c.contribution_id, table.c.state).where(table.c.contribution_id.in_(names))
    return {row.contribution_id: row.state for row in tx.execute(query)}


def _descended(tx: Connection, row: Row[Any]) -> Descended:
    member = schema.member
    query = select(member.c.contribution_id).where(member.c.descendant == row.sha256)
    members = tx.execute(query.order_by(member.c.contribution_id)).scalars()
    return Descended(row.sha256, row.blueprint, row.size, tuple(members))
