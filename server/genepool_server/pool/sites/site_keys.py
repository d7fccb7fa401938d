"""A site's keys after it has enrolled: its certificate, another TLS key, another signing key."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from genepool_protocol.trust import enrolment, envelope, rotation
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.rotation import Rotation
from genepool_protocol.wire.documents import stamp
from genepool_protocol.wire.errors import NotFound, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.admission.statement import require_active
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import registry_rows, site_rows
from genepool_server.pool.sites import membership
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Site

Issue = Callable[[VerifyingKey, str, datetime], str]
"""(key, site, now) -> certificate in PEM."""


def certificate(ledger: Ledger, name: str, tls_keyid: str, issue: Issue, now: datetime) -> tuple[Site, str]:
    """A site and the certificate of one of its TLS keys, issued when it is asked for the first time.

    Only who knows the key is answered: the names of sites are nobody else's business. The certificate is empty while
    the site is not active, and for a key that was replaced.

    Raises:
        NotFound: SITE_UNKNOWN.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with ledger.read() as tx:
        row, site = registry_rows.find_tls(tx, tls_keyid), site_rows.site(tx, name)
    if row is None or site is None or row.site != name:
        raise NotFound("SITE_UNKNOWN", f"no site {name[:64]!r} has registered this TLS key", "enrol first")
    if site.state != "ACTIVE" or row.ends is not None:
        return site, ""
    if row.certificate is not None:
        return site, row.certificate
    with ledger.write() as tx:
        return site, _issued(tx, VerifyingKey.from_pem(row.pem), name, issue, now)


def _issued(tx: Connection, key: VerifyingKey, name: str, issue: Issue, now: datetime) -> str:
    row = registry_rows.find_tls(tx, key.keyid)
    if row is not None and row.certificate is not None:
        return str(row.certificate)
    pem = issue(key, name, now)
    registry_rows.set_certificate(tx, key.keyid, pem)
    return pem


def renew(ledger: Ledger, name: str, tls_csr: bytes, issue: Issue, now: datetime) -> str:
    """A certificate for another TLS key of an active site; the one before is accepted for `renew_seconds` more.

    The same request again gives the same certificate.

    Raises:
        InvalidInput: KEY_MALFORMED.
        VerificationError: SIGNATURE_INVALID.
        Refused: KEY_IN_USE, SITE_NOT_ACTIVE or KEY_REVOKED.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    key = enrolment.read_csr(tls_csr, "request for the TLS key")
    with ledger.read() as tx:  # what is refused must not make anybody wait for the writer
        row = _renewable(tx, key, name)
    if row is not None and row.certificate is not None:
        return str(row.certificate)
    with ledger.write() as tx:
        if _renewable(tx, key, name) is not None:
            return _issued(tx, key, name, issue, now)
        registry_rows.end_tls(tx, name, stamp(now + timedelta(seconds=LIMITS.renew_seconds)))
        registry_rows.add_tls(tx, name, key)
        return _issued(tx, key, name, issue, now)


def _renewable(tx: Connection, key: VerifyingKey, name: str) -> Row[Any] | None:
    """The row of a site's current TLS key, if it is that key; None: it is a new one, which the site may have."""
    site = membership.known(tx, name)
    require_active(name, site.state)
    if site.tls_keyid == key.keyid:
        return registry_rows.find_tls(tx, key.keyid)
    membership.check_new(tx, key)
    return None


def rotate(ledger: Ledger, notary: Notary, name: str, by_old: bytes, by_new: bytes, now: datetime) -> tuple[str, str]:
    """Put another signing key in the place of the current one, which is accepted for `overlap_seconds` more.

    The same statement again gives the same answer.

    Returns:
        The new key's id, and until when the old key is accepted.

    Raises:
        InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED or KEY_MALFORMED.
        VerificationError: SIGNATURE_INVALID.
        Refused: KEY_IN_USE, SITE_NOT_ACTIVE or KEY_REVOKED.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with ledger.read() as tx:  # what is refused must not make anybody wait for the writer
        proved, ended = _rotatable(tx, notary.origin, name, by_old, by_new)
    if ended:
        return proved.new.keyid, ended
    with notary.transaction() as tx:
        proved, ended = _rotatable(tx, notary.origin, name, by_old, by_new)
        if ended:
            return proved.new.keyid, ended
        ends = stamp(now + timedelta(seconds=LIMITS.overlap_seconds))
        site_rows.add_key(tx, name, proved.new)
        registry_rows.replace_signing(tx, proved.old.keyid, ends)
        membership.record_decision(notary, tx, "rotated", membership.known(tx, name))
    return proved.new.keyid, ends


def _rotatable(tx: Connection, origin: str, name: str, by_old: bytes, by_new: bytes) -> tuple[Rotation, str]:
    """A replacement that both keys signed; with the old key's end when it has taken place already."""
    site = membership.known(tx, name)
    require_active(name, site.state)
    replaced = registry_rows.find_replaced(tx, name, envelope.parse(by_old).keyid)
    old = VerifyingKey.from_pem(replaced.pem if replaced is not None else site.key_pem)
    proved = rotation.verify(by_old, by_new, old, origin, name)
    if replaced is None:
        membership.check_new(tx, proved.new)
        return proved, ""
    if proved.new.keyid != site.keyid:
        raise Refused("KEY_IN_USE", "this signing key was replaced by another one before", "use that one")
    return proved, str(replaced.ends)
