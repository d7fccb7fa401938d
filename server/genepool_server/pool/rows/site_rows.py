"""The ledger's rows of sites, invitations and keys: one function per question, each inside the caller's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.documents import moment
from genepool_protocol.wire.errors import StorageError
from genepool_server.admission.statement import Signer
from genepool_server.pool.rows import registry_rows
from genepool_server.pool.store import registry_schema, schema
from genepool_server.records import PoolIdentity, Site, SiteState


def identity(tx: Connection) -> PoolIdentity:
    """Who this pool is.

    Raises:
        StorageError: LEDGER_INCONSISTENT, it does not say.
    """
    row = tx.execute(select(schema.identity)).one_or_none()
    if row is None:
        raise StorageError("LEDGER_INCONSISTENT", "the ledger does not say whose it is", "restore it from the backup")
    return PoolIdentity(row.origin, row.log_vkey, row.nonce_key)


def put_identity(tx: Connection, pool: PoolIdentity) -> None:
    """Say who this pool is, once."""
    values = {"id": 1, "origin": pool.origin, "log_vkey": pool.log_vkey, "nonce_key": pool.nonce_key}
    tx.execute(insert(schema.identity).values(**values))


_current = (
    select(schema.signing_key)
    .where(schema.signing_key.c.keyid.not_in(select(registry_schema.replaced_key.c.keyid)))
    .subquery("current_key")
)
_tls = select(registry_schema.tls_key).where(registry_schema.tls_key.c.ends.is_(None)).subquery("current_tls")
_SITES = (
    select(
        schema.site.c.name,
        schema.site.c.state,
        _current.c.keyid,
        _current.c.pem,
        _tls.c.keyid.label("tls_keyid"),
        _tls.c.certificate,
    )
    .select_from(schema.site.outerjoin(_current).outerjoin(_tls, _tls.c.site == schema.site.c.name))
    .order_by(schema.site.c.name)
)


def _site(row: Any, roles: Sequence[str]) -> Site:
    return Site(
        row.name,
        row.state,
        row.keyid or "",
        row.pem or "",
        row.tls_keyid or "",
        row.certificate or "",
        tuple(sorted(roles)),
    )


def counts(tx: Connection) -> dict[SiteState, int]:
    """State -> how many sites are in it."""
    query = select(schema.site.c.state, func.count()).group_by(schema.site.c.state)
    return {state: int(count) for state, count in tx.execute(query)}


def sites(tx: Connection, after: str = "", count: int | None = None) -> list[Site]:
    """Up to `count` sites behind `after`, by name; None: all."""
    rows = list(tx.execute(_SITES.where(schema.site.c.name > after).limit(count)))
    roles = registry_rows.roles(tx, None if count is None else [row.name for row in rows])
    return [_site(row, roles.get(row.name, ())) for row in rows]


def site(tx: Connection, name: str) -> Site | None:
    """The site of that name."""
    row = tx.execute(_SITES.where(schema.site.c.name == name)).one_or_none()
    return None if row is None else _site(row, registry_rows.roles(tx, [name]).get(name, ()))


def add_site(tx: Connection, name: str, state: SiteState) -> None:
    """A site that is not there yet."""
    tx.execute(insert(schema.site).values(name=name, state=state))


def set_site_state(tx: Connection, name: str, state: SiteState) -> None:
    """The new state of a site."""
    tx.execute(update(schema.site).where(schema.site.c.name == name).values(state=state))


def invite(tx: Connection, site_name: str) -> Row[Any] | None:
    """A site's invitation, with its secret until it is used."""
    return tx.execute(select(schema.invite).where(schema.invite.c.site == site_name)).one_or_none()


def put_invite(tx: Connection, site_name: str, invite_id: str, secret: str, created: str, expires: str) -> None:
    """A site's invitation, in place of an earlier one."""
    tx.execute(schema.invite.delete().where(schema.invite.c.site == site_name))
    values = {"invite_id": invite_id, "site": site_name, "secret": secret, "created": created, "expires": expires}
    tx.execute(insert(schema.invite).values(**values))


def use_invite(tx: Connection, invite_id: str, mac: bytes, keyid: str, tls_keyid: str) -> None:
    """Forget an invitation's secret, and keep for which call it was used."""
    table, values = schema.invite, {"secret": None, "mac": mac, "keyid": keyid, "tls_keyid": tls_keyid}
    tx.execute(update(table).where(table.c.invite_id == invite_id).values(**values))


def add_key(tx: Connection, site_name: str, key: VerifyingKey) -> None:
    """A site's signing key."""
    values = {"keyid": key.keyid, "hint": key.hint, "site": site_name, "pem": key.pem}
    tx.execute(insert(schema.signing_key).values(**values))


def raw_keys(tx: Connection) -> list[Any]:
    """Every key's row."""
    return list(tx.execute(select(schema.signing_key).order_by(schema.signing_key.c.keyid)))


def signer(tx: Connection, keyid: str, hint: str) -> Signer | None:
    """Whose key that is: by key id, by hint when there is no key id."""
    keys, owner, old = schema.signing_key, schema.site, registry_schema.replaced_key
    which = keys.c.keyid == keyid if keyid else keys.c.hint == hint
    joined = keys.join(owner).outerjoin(old, old.c.keyid == keys.c.keyid)
    query = select(owner.c.name, owner.c.state, keys.c.pem, old.c.ends).select_from(joined).where(which)
    row = tx.execute(query).one_or_none()
    if row is None:
        return None
    return Signer(row.name, row.state, VerifyingKey.from_pem(row.pem), moment(row.ends) if row.ends else None)
