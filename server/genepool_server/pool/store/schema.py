"""The ledger's tables. Nothing here is derivable only from here: fsck recomputes the rows from what was signed."""

from typing import Any, Final

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
)

VERSION: Final = 3
"""Of these tables; kept in the database, raised with every change of them."""

metadata: Final = MetaData()

Integer: Final = BigInteger().with_variant(sqlalchemy.Integer(), "sqlite")
"""64 bits; SQLite's strict tables know them as INTEGER."""

Text: Final = sqlalchemy.Text().with_variant(sqlalchemy.Text(collation="C"), "postgresql")
"""Sorted by its bytes everywhere, as SQLite does, so that no order depends on a machine's language."""


def _table(name: str, *items: Column[object] | CheckConstraint | UniqueConstraint) -> Table:
    # STRICT: SQLite then keeps the types that are declared, as other databases do
    return Table(name, metadata, *items, sqlite_strict=True)


identity = _table(
    "identity",
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("log_vkey", Text, nullable=False),
    Column("nonce_key", LargeBinary, nullable=False),  # authenticates nonces, so that issuing one writes nothing
)

site = _table(
    "site",
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
)

invite = _table(
    "invite",
    Column("invite_id", Text, primary_key=True),
    Column("site", Text, ForeignKey("site.name"), nullable=False, unique=True),
    Column("created", Text, nullable=False),
    Column("expires", Text, nullable=False),
    Column("secret", Text),  # until it is used; HMAC needs the secret itself
    Column("mac", LargeBinary),  # once it is used: what the same call again must show
    Column("keyid", Text),
    Column("tls_keyid", Text),
)

signing_key = _table(
    "signing_key",
    Column("keyid", Text, primary_key=True),
    Column("hint", Text, nullable=False, unique=True),
    Column("site", Text, ForeignKey("site.name"), nullable=False, index=True),
    Column("pem", Text, nullable=False),
)

leaf = _table(
    "leaf",
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # the signed statement, of which the leaf holds the hash
    Column("hash", LargeBinary, nullable=False),
)

checkpoint = _table(
    "checkpoint",
    Column("size", Integer, primary_key=True, autoincrement=False),  # so there is one root for a size
    Column("note", Text, nullable=False),
)

cosignature = _table(
    "cosignature",
    Column("size", Integer, ForeignKey("checkpoint.size"), primary_key=True, autoincrement=False),
    Column("vkey", Text, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("line", Text, nullable=False),
)

contribution = _table(
    "contribution",
    Column("contribution_id", Text, primary_key=True),
    Column("site", Text, ForeignKey("site.name"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("keyid", Text, ForeignKey("signing_key.keyid"), nullable=False),
    Column("nonce", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("blueprint", Text, nullable=False),
    Column("license", Text, nullable=False),
    Column("images", Integer, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("tensor_digest", Text, nullable=False, unique=True),
    Column("size_bytes", Integer, nullable=False),
    Column("log_index", Integer, ForeignKey("leaf.log_index"), nullable=False, unique=True),
    Column("manifest", LargeBinary, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    UniqueConstraint("site", "seq"),
)

members_of: Final = Index(
    "ix_members_of", contribution.c.blueprint, contribution.c.state, contribution.c.contribution_id
)
"""A blueprint's active contributions in the order of their pages, so that a page costs its own rows and not all."""

withdrawal = _table(
    "withdrawal",
    Column("contribution_id", Text, ForeignKey("contribution.contribution_id"), primary_key=True),
    Column("log_index", Integer, ForeignKey("leaf.log_index"), nullable=False, unique=True),
    Column("receipt", LargeBinary, nullable=False),
    Column("erased", Integer, ForeignKey("leaf.log_index"), unique=True),  # until then the blob may be there
)

sketch = _table(
    "sketch",
    Column("contribution_id", Text, ForeignKey("withdrawal.contribution_id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # see `secret`; empty: the weights could not be read any more
    Column("by_operator", Integer, CheckConstraint("by_operator IN (0, 1)"), nullable=False),
)
"""What is kept of withdrawn weights. It follows from nothing else once they are erased."""

descendant = _table(
    "descendant",
    Column("sha256", Text, primary_key=True),  # of model.safetensors
    Column("blueprint", Text, nullable=False),
    Column("size", Text, nullable=False),
    Column("times", Integer, nullable=False, server_default="1"),  # how often it was handed over
    Column("first", Text, nullable=False, server_default=""),  # days: the hour is nobody's business
    Column("last", Text, nullable=False, server_default=""),  # empty: before days were kept
)

unlisted = _table(  # what was handed over beyond LIMITS.descendants: one row a size, so it is bounded
    "unlisted",
    Column("contribution_id", Text, ForeignKey("contribution.contribution_id"), primary_key=True),
    Column("blueprint", Text, primary_key=True),
    Column("size", Text, primary_key=True),
    Column("times", Integer, nullable=False),
    Column("first", Text, nullable=False),
    Column("last", Text, nullable=False),
)

member = _table(
    "member",
    Column("descendant", Text, ForeignKey("descendant.sha256"), primary_key=True),
    Column("contribution_id", Text, ForeignKey("contribution.contribution_id"), primary_key=True),
)

descendants_of: Final = Index("ix_descendants_of", member.c.contribution_id, member.c.descendant)
"""The list of a contribution's descendants in its order, so that a page costs its own rows and not all of them."""


ADDED: Final[dict[int, tuple[Table, ...]]] = {3: (sketch, unlisted)}
"""Tables that a version added to those of the one before; `migration` makes them in a ledger of that one."""

WIDENED: Final[dict[int, tuple[Column[Any], ...]]] = {3: (descendant.c.times, descendant.c.first, descendant.c.last)}
"""Columns that it added to tables that were there; each has a default for the rows that were there, too."""

INDEXED: Final[dict[int, tuple[Index, ...]]] = {3: (members_of, descendants_of)}
"""Indexes that it added."""
