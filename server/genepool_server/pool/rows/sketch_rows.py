"""The ledger's rows of sketches of what was withdrawn: each function inside the caller's transaction."""

from typing import Any

from sqlalchemy import Connection, insert, select

from genepool_server.pool.store import schema


def add(tx: Connection, contribution_id: str, sealed: bytes, *, by_operator: bool) -> None:
    """The sealed sketch of a contribution that was withdrawn; empty when there is none."""
    values = {"contribution_id": contribution_id, "sealed": sealed, "by_operator": int(by_operator)}
    tx.execute(insert(schema.sketch).values(**values))


def exists(tx: Connection, contribution_id: str) -> bool:
    """Whether a contribution has a row."""
    table = schema.sketch
    return (
        tx.execute(select(table.c.contribution_id).where(table.c.contribution_id == contribution_id)).first()
        is not None
    )


def any_sealed(tx: Connection) -> bool:
    """Whether there is a sketch that only the pool's own secret opens."""
    table = schema.sketch
    return tx.execute(select(table.c.contribution_id).where(table.c.sealed != b"").limit(1)).first() is not None


def of_blueprint(tx: Connection, blueprint_sha256: str) -> list[Any]:
    """Sketches of contributions to a blueprint, with site and leaf of each, in the order of the log."""
    table, owner = schema.sketch, schema.contribution
    query = select(table, owner.c.site, owner.c.log_index).select_from(
        table.join(owner, owner.c.contribution_id == table.c.contribution_id)
    )
    return list(
        tx.execute(
            query.where(owner.c.blueprint == blueprint_sha256, table.c.sealed != b"").order_by(owner.c.log_index)
        )
    )


def raw(tx: Connection) -> list[Any]:
    """Every row."""
    return list(tx.execute(select(schema.sketch).order_by(schema.sketch.c.contribution_id)))
