"""The ledger's rows of TLS keys, replaced signing keys and roles: each function inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from genepool_protocol.trust.keys import VerifyingKey
from genepool_server.pool.store import schema
from genepool_server.pool.store.registry_schema import replaced_key, site_role, tls_key


def roles(tx: Connection, names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """The roles of every site, or of these, that has any."""
    query = select(site_role) if names is None else select(site_role).where(site_role.c.site.in_(names))
    roles: dict[str, list[str]] = {}
    for row in tx.execute(query):
        roles.setdefault(row.site, []).append(row.role)
    return roles


def set_roles(tx: Connection, site: str, names: Iterable[str]) -> None:
    """A site's roles, in place of the earlier ones."""
    tx.execute(site_role.delete().where(site_role.c.site == site))
    tx.execute(insert(site_role), [{"site": site, "role": role} for role in sorted(set(names))])


def tls_keys(tx: Connection) -> list[Any]:
    """Every TLS key's row, with the state of its site."""
    joined = tls_key.join(schema.site)
    return list(tx.execute(select(tls_key, schema.site.c.state).select_from(joined).order_by(tls_key.c.keyid)))


def find_tls(tx: Connection, keyid: str) -> Row[Any] | None:
    """A TLS key's row."""
    return tx.execute(select(tls_key).where(tls_key.c.keyid == keyid)).one_or_none()


def add_tls(tx: Connection, site: str, key: VerifyingKey) -> None:
    """A site's TLS key, without a certificate yet."""
    tx.execute(insert(tls_key).values(keyid=key.keyid, site=site, pem=key.pem))


def set_certificate(tx: Connection, keyid: str, pem: str) -> None:
    """The certificate that was issued for a TLS key."""
    tx.execute(update(tls_key).where(tls_key.c.keyid == keyid).values(certificate=pem))


def end_tls(tx: Connection, site: str, ends: str) -> None:
    """A site's current TLS key is accepted until then, and so is none of its earlier ones for longer."""
    mine = tls_key.c.site == site
    tx.execute(update(tls_key).where(mine, tls_key.c.ends.is_(None) | (tls_key.c.ends > ends)).values(ends=ends))


def replace_signing(tx: Connection, keyid: str, ends: str) -> None:
    """A signing key is accepted until then."""
    tx.execute(insert(replaced_key).values(keyid=keyid, ends=ends))


def end_replaced(tx: Connection, site: str, ends: str) -> None:
    """None of a site's replaced signing keys is accepted after that."""
    mine = select(schema.signing_key.c.keyid).where(schema.signing_key.c.site == site)
    late = replaced_key.c.keyid.in_(mine) & (replaced_key.c.ends > ends)
    tx.execute(update(replaced_key).where(late).values(ends=ends))


def find_replaced(tx: Connection, site: str, keyid: str) -> Any:
    """A replaced signing key of a site: its text, and until when it is accepted; or None."""
    joined = replaced_key.join(schema.signing_key)
    query = select(schema.signing_key.c.pem, replaced_key.c.ends).select_from(joined)
    mine = (schema.signing_key.c.site == site, replaced_key.c.keyid == keyid)
    return tx.execute(query.where(*mine)).one_or_none()


def key_known(tx: Connection, keyid: str) -> bool:
    """Whether any site has or had this key, for whatever purpose."""
    queries = (select(table.c.keyid).where(table.c.keyid == keyid) for table in (schema.signing_key, tls_key))
    return any(tx.execute(query).first() is not None for query in queries)
