"""The sites of a pool: who is invited, who has enrolled with which keys, and who may come in.

    INVITED -> PENDING -> ACTIVE <-> SUSPENDED, and from each of them -> REVOKED or (again) INVITED

Whatever changes a site is known to the registry when the method returns, and so at the site's next message.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from genepool_protocol.trust.enrolment import Application
from genepool_protocol.wire.access import DEFAULT_ROLES
from genepool_protocol.wire.errors import StorageError, Unavailable
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import site_rows
from genepool_server.pool.rows.pages import paged
from genepool_server.pool.sites import membership, site_keys
from genepool_server.pool.sites.membership import Invitation
from genepool_server.pool.sites.site_keys import Issue
from genepool_server.pool.sites.tls_key_cache import Holder, Registry
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Site, SiteState


class Registrar:
    """The part of a pool that is about its sites.

    Args:
        ledger: where sites and keys stand.
        notary: records every decision on a site.
    """

    def __init__(self, ledger: Ledger, notary: Notary) -> None:
        self._ledger = ledger
        self._notary = notary
        self._registry = Registry(ledger)

    def invite(
        self,
        site: str,
        now: datetime,
        *,
        life: timedelta = membership.INVITE_LIFE,
        roles: Sequence[str] = DEFAULT_ROLES,
        again: bool = False,
    ) -> Invitation:
        """A fresh invitation; an earlier one that was not used is void.

        Args:
            site: its name.
            now: the time.
            life: how long the invitation can be used.
            roles: what the site will be.
            again: also for a site that has enrolled and lost its keys: they end now.

        Raises:
            InvalidInput: NAME_INVALID or OPTION_INVALID.
            Refused: SITE_EXISTS, it has enrolled already.
        """
        with self._changing():
            return membership.invite(self._ledger, self._notary, site, now, life=life, roles=roles, again=again)

    def all(self) -> list[Site]:
        """Every site, by name, all at once."""
        return list(self.each())

    def each(self) -> Iterator[Site]:
        """Every site, by name; read page by page."""
        return paged(self._page, lambda site: site.name, "")

    def _page(self, after: str, count: int) -> list[Site]:
        with self._ledger.read() as tx:
            return site_rows.sites(tx, after, count)

    def counts(self) -> dict[SiteState, int]:
        """State -> how many sites are in it."""
        with self._ledger.read() as tx:
            return site_rows.counts(tx)

    def get(self, name: str) -> Site:
        """The site of that name.

        Raises:
            NotFound: SITE_UNKNOWN.
        """
        with self._ledger.read() as tx:
            return membership.known(tx, name)

    def enrol(self, application: Application, mac: bytes, channel: bytes, now: datetime) -> Site:
        """Register a site's keys under its invitation; the same call again gives the same answer.

        Args:
            application: names, and a request for each key.
            mac: under the invitation's secret.
            channel: SHA-256 of the key of the CA that clients pin.
            now: the time.

        Raises:
            InvalidInput: KEY_MALFORMED.
            VerificationError: SIGNATURE_INVALID; INVITE_INVALID, the site or invitation is unknown or the MAC does not
                hold.
            Refused: INVITE_EXPIRED, INVITE_USED (with another key), KEY_IN_USE.
        """
        with self._changing():
            return membership.enrol(self._ledger, self._notary, application, mac, channel, now)

    def certificate(self, site: str, tls_keyid: str, issue: Issue, now: datetime) -> tuple[Site, str]:
        """A site and its certificate, which is issued once it is active; see `site_keys.certificate`.

        Raises:
            NotFound: SITE_UNKNOWN, or it has not registered that key.
        """
        return site_keys.certificate(self._ledger, site, tls_keyid, issue, now)

    def renew(self, site: str, tls_csr: bytes, issue: Issue, now: datetime) -> str:
        """A certificate for a site's next TLS key; see `site_keys.renew`.

        Raises:
            InvalidInput: KEY_MALFORMED.
            VerificationError: SIGNATURE_INVALID.
            Refused: KEY_IN_USE, SITE_NOT_ACTIVE or KEY_REVOKED.
        """
        with self._changing():
            return site_keys.renew(self._ledger, site, tls_csr, issue, now)

    def rotate(self, site: str, by_old: bytes, by_new: bytes, now: datetime) -> tuple[str, str]:
        """Replace a site's signing key; answers the new key's id and the end of the old one; see `site_keys.rotate`.

        Raises:
            InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED or KEY_MALFORMED.
            VerificationError: SIGNATURE_INVALID.
            Refused: KEY_IN_USE, SITE_NOT_ACTIVE or KEY_REVOKED.
        """
        return site_keys.rotate(self._ledger, self._notary, site, by_old, by_new, now)

    def holder(self, tls_keyid: str) -> Holder | None:
        """What the registry knows of a TLS key: from memory, for every call and message."""
        return self._registry.holder(tls_keyid)

    def approve(self, site: str, fingerprint: str = "") -> Site:
        """PENDING or SUSPENDED -> ACTIVE; `fingerprint` is what the site read to the operator.

        Raises:
            NotFound: SITE_UNKNOWN.
            VerificationError: FINGERPRINT_MISMATCH.
            Refused: STATE_TRANSITION.
        """
        with self._changing():
            return membership.move(self._ledger, self._notary, site, "ACTIVE", fingerprint=fingerprint)

    def suspend(self, site: str) -> Site:
        """ACTIVE -> SUSPENDED, from the next message on.

        Raises:
            NotFound: SITE_UNKNOWN.
            Refused: STATE_TRANSITION.
        """
        with self._changing():
            return membership.move(self._ledger, self._notary, site, "SUSPENDED")

    def revoke(self, site: str) -> Site:
        """Any state but REVOKED -> REVOKED, for ever and from the next message on; what it contributed before stays.

        Raises:
            NotFound: SITE_UNKNOWN.
            Refused: STATE_TRANSITION.
        """
        with self._changing():
            return membership.move(self._ledger, self._notary, site, "REVOKED")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except (StorageError, Unavailable):
            self._registry.forget()
            raise
        self._registry.reload()
