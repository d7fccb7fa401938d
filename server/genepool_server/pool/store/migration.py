"""From the tables of an older version to those of this one, in one transaction."""

from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.schema import CreateColumn

from genepool_server.pool.store import schema

OLDEST: Final = min(schema.ADDED) - 1
"""The oldest version whose tables can be brought up to this one."""


def migrate(tx: Connection, version: int) -> None:
    """Add what versions after this one added.

    Args:
        tx: that writes.
        version: of the ledger, from `OLDEST` on.
    """
    for number in range(version + 1, schema.VERSION + 1):
        for table in schema.ADDED[number]:
            table.create(tx)
        for column in schema.WIDENED.get(number, ()):
            definition = CreateColumn(column).compile(dialect=tx.dialect)
            tx.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")
        for index in schema.INDEXED.get(number, ()):
            index.create(tx)
        if number == 3:  # what was withdrawn before is erased: there can be no sketch of it
            gone = tx.execute(
                select(schema.withdrawal.c.contribution_id).where(schema.withdrawal.c.erased.is_not(None))
            )
            rows = [{"contribution_id": name, "sealed": b"", "by_operator": 0} for name in gone.scalars()]
            if rows:
                tx.execute(insert(schema.sketch), rows)
