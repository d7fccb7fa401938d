"""The ledger's tables of who is who on the wire, beside those of `schema`. The operator's word has no second source."""

from typing import Final

from sqlalchemy import Column, ForeignKey, PrimaryKeyConstraint, Table

from genepool_server.pool.store.schema import Integer, Text, metadata


def _table(name: str, *items: Column[object] | PrimaryKeyConstraint) -> Table:
    return Table(name, metadata, *items, sqlite_strict=True)


tls_key: Final = _table(
    "tls_key",
    Column("keyid", Text, primary_key=True),
    Column("site", Text, ForeignKey("site.name"), nullable=False, index=True),
    Column("pem", Text, nullable=False),
    Column("certificate", Text),  # once it was issued
    Column("ends", Text),  # once it was replaced: until when it is accepted; one of a site has none
)

replaced_key: Final = _table(
    "replaced_key",
    Column("keyid", Text, ForeignKey("signing_key.keyid"), primary_key=True),
    Column("ends", Text, nullable=False),  # until when it is accepted
)

site_role: Final = _table(
    "site_role",
    Column("site", Text, ForeignKey("site.name"), nullable=False),
    Column("role", Text, nullable=False),
    PrimaryKeyConstraint("site", "role"),
)

usage: Final = _table(
    "usage",
    Column("site", Text, ForeignKey("site.name"), nullable=False),
    Column("day", Text, nullable=False),
    Column("contributions", Integer, nullable=False),
    PrimaryKeyConstraint("site", "day"),
)
