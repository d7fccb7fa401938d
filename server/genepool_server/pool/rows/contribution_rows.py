"""The ledger's rows of contributions: one function per question, each inside the caller's transaction."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Row, Select, func, insert, literal, or_, select, update

from genepool_protocol.learngene.manifest import Manifest, parse_manifest
from genepool_server.admission.state import ZEROS
from genepool_server.pool.store import schema
from genepool_server.records import Contribution, ContributionState

PathOf = Callable[[str], Path]


_CONTRIBUTIONS = select(schema.contribution, schema.signing_key.c.pem).join(schema.signing_key)
_LONG = ("manifest", "receipt")
_BRIEF = select(
    *(column for column in schema.contribution.c if column.name not in _LONG),
    *(literal(b"", LargeBinary).label(name) for name in _LONG),
    literal("").label("pem"),
)


def _contribution(row: Row[Any], path_of: PathOf) -> Contribution:
    return Contribution(
        contribution_id=row.contribution_id,
        site=row.site,
        state=row.state,
        license=row.license,
        blueprint_sha256=row.blueprint,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        images=row.images,
        log_index=row.log_index,
        path=path_of(row.sha256),
        manifest=row.manifest,
        receipt=row.receipt,
        site_key_pem=row.pem,
        note=row.note,
    )


def contributions(
    tx: Connection, path_of: PathOf, size: int, prefix: str, after: int, count: int
) -> list[Contribution]:
    """Up to `count` of those among the first `size` leaves of the log behind `after`, in its order, by ids' prefix."""
    return [_contribution(row, path_of) for row in tx.execute(_page(_CONTRIBUTIONS, size, prefix, after, count))]


def briefs(tx: Connection, path_of: PathOf, size: int, prefix: str, after: int, count: int) -> list[Contribution]:
    """The same without what is long: manifest, receipt and key."""
    return [_contribution(row, path_of) for row in tx.execute(_page(_BRIEF, size, prefix, after, count))]


def _page(query: "Select[Any]", size: int, prefix: str, after: int, count: int) -> "Select[Any]":
    table = schema.contribution
    if prefix:
        query = query.where(table.c.contribution_id >= prefix, table.c.contribution_id < prefix + "g")  # ids are hex
    return query.where(table.c.log_index > after, table.c.log_index < size).order_by(table.c.log_index).limit(count)


def contribution(tx: Connection, path_of: PathOf, contribution_id: str) -> Contribution | None:
    """The contribution of that id."""
    row = tx.execute(_CONTRIBUTIONS.where(schema.contribution.c.contribution_id == contribution_id)).one_or_none()
    return None if row is None else _contribution(row, path_of)


def active(
    tx: Connection,
    path_of: PathOf,
    size: int,
    blueprint_sha256: str,
    licenses: Sequence[str],
    after: str = "",
    count: int | None = None,
) -> list[Contribution]:
    """Active ones of a blueprint among the first `size` leaves, by id, behind `after`; empty `licenses` means all."""
    table = schema.contribution
    query = _CONTRIBUTIONS.where(
        table.c.state == "ACTIVE", table.c.blueprint == blueprint_sha256, table.c.log_index < size
    )
    if licenses:
        query = query.where(table.c.license.in_(licenses))
    query = query.where(table.c.contribution_id > after).order_by(table.c.contribution_id).limit(count)
    return [_contribution(row, path_of) for row in tx.execute(query)]


def active_count(tx: Connection, size: int, blueprint_sha256: str) -> int:
    """How many of them there are."""
    table = schema.contribution
    mine = (table.c.state == "ACTIVE", table.c.blueprint == blueprint_sha256, table.c.log_index < size)
    return int(tx.execute(select(func.count()).where(*mine)).scalar_one())


def active_digests(tx: Connection, size: int, blueprint_sha256: str) -> set[str]:
    """Digests of the files of them all."""
    table = schema.contribution
    mine = (table.c.state == "ACTIVE", table.c.blueprint == blueprint_sha256, table.c.log_index < size)
    return set(tx.execute(select(table.c.sha256).where(*mine)).scalars())


def unreviewed(tx: Connection, path_of: PathOf, size: int) -> list[Contribution]:
    """Quarantined ones among the first `size` leaves that nobody has said anything about, in the order of the log."""
    table = schema.contribution
    query = _CONTRIBUTIONS.where(table.c.state == "QUARANTINED", table.c.note == "", table.c.log_index < size)
    return [_contribution(row, path_of) for row in tx.execute(query.order_by(table.c.log_index))]


def totals(tx: Connection, size: int) -> dict[ContributionState, tuple[int, int]]:
    """State -> how many are in it among the first `size` leaves, and the bytes of their files together."""
    table = schema.contribution
    query = select(table.c.state, func.count(), func.sum(table.c.size_bytes)).where(table.c.log_index < size)
    return {state: (int(count), int(total)) for state, count, total in tx.execute(query.group_by(table.c.state))}


def unreviewed_count(tx: Connection, size: int) -> int:
    """How many of `unreviewed` there are."""
    table = schema.contribution
    waiting = (table.c.state == "QUARANTINED", table.c.note == "", table.c.log_index < size)
    return int(tx.execute(select(func.count()).where(*waiting)).scalar_one())


def raw(tx: Connection) -> list[Any]:
    """Every row of the table, in the order of the log."""
    return list(tx.execute(select(schema.contribution).order_by(schema.contribution.c.log_index)))


def columns_of(manifest: Manifest, contribution_id: str, keyid: str) -> dict[str, object]:
    """The columns that say again what a manifest says: for queries, and for fsck to hold against it."""
    return {
        "contribution_id": contribution_id,
        "site": manifest.site,
        "seq": manifest.seq,
        "keyid": keyid,
        "nonce": manifest.nonce,
        "blueprint": manifest.blueprint.removeprefix("sha256:"),
        "license": manifest.license,
        "images": manifest.training.images,
        "sha256": manifest.file.sha256,
        "tensor_digest": manifest.file.tensor_digest,
        "size_bytes": manifest.file.size,
    }


def add(tx: Connection, **columns: object) -> None:
    """A row of the table."""
    tx.execute(insert(schema.contribution).values(**columns))


def set_state(tx: Connection, contribution_id: str, state: ContributionState, note: str) -> None:
    """The new state of a contribution, and the reason."""
    table = schema.contribution
    note = note.replace("\0", "\N{REPLACEMENT CHARACTER}")  # a site wrote it, and PostgreSQL has no such character
    tx.execute(update(table).where(table.c.contribution_id == contribution_id).values(state=state, note=note))


def state(tx: Connection, contribution_id: str) -> ContributionState:
    """The state of a contribution that exists."""
    table = schema.contribution
    state: ContributionState = tx.execute(
        select(table.c.state).where(table.c.contribution_id == contribution_id)
    ).scalar_one()
    return state


def standing(tx: Connection, contribution_id: str) -> tuple[ContributionState, str]:
    """State and note of a contribution that exists."""
    table = schema.contribution
    row = tx.execute(select(table.c.state, table.c.note).where(table.c.contribution_id == contribution_id)).one()
    return row.state, row.note


def chain(tx: Connection, site_name: str) -> tuple[int, str, str, str]:
    """Number, id, cumulative epsilon and its delta of a site's last contribution; (0, zeros, "0", "1") at first."""
    table = schema.contribution
    query = select(table.c.seq, table.c.contribution_id, table.c.manifest).where(table.c.site == site_name)
    row = tx.execute(query.order_by(table.c.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return 0, ZEROS, "0", "1"
    claim = parse_manifest(row.manifest).privacy.key
    return row.seq, row.contribution_id, claim.cumulative_epsilon, claim.delta


def drawn(tx: Connection, site_name: str, images: int, sigma: str) -> bool:
    """Whether a contribution of the site, in any state, stated so many images and this noise."""
    table = schema.contribution
    query = select(table.c.manifest).where(table.c.site == site_name, table.c.images == images)
    rows = tx.execute(query.order_by(table.c.seq.desc()))  # mostly the last one is the same
    return any(float(parse_manifest(row.manifest).privacy.key.sigma) == float(sigma) for row in rows)


def exists(tx: Connection, contribution_id: str) -> bool:
    """Whether there is a contribution of that id."""
    return _any(tx, schema.contribution.c.contribution_id == contribution_id)


def nonce_used(tx: Connection, nonce: str) -> bool:
    """Whether a contribution holds this nonce."""
    return _any(tx, schema.contribution.c.nonce == nonce)


def weights_known(tx: Connection, sha256: str, tensor_digest: str) -> bool:
    """Whether a contribution, in any state, has this file or these tensors."""
    table = schema.contribution
    return _any(tx, or_(table.c.sha256 == sha256, table.c.tensor_digest == tensor_digest))


def _any(tx: Connection, condition: ColumnElement[bool]) -> bool:
    return tx.execute(select(schema.contribution.c.contribution_id).where(condition).limit(1)).first() is not None
