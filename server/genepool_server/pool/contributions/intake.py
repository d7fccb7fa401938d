"""How a learngene enters the pool: statement, bytes, commit. The shell around the checks of `admission`.

    durable in this order:  blob -> ledger transaction (contribution, leaf, signed head) -> lock store

Whatever moment the process ends at, the next one finds an upload that can be committed again, or a contribution.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from genepool_protocol.learngene.manifest import parse_manifest
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server import durable
from genepool_server.admission import architecture, content, nonces, state, statement
from genepool_server.admission.architecture import Fitting
from genepool_server.admission.content import Sound
from genepool_server.admission.state import Current
from genepool_server.admission.statement import Claim
from genepool_server.pool.contributions import decisions, quotas
from genepool_server.pool.contributions.quotas import Quotas
from genepool_server.pool.contributions.replies import Begun, Committed, Nonce
from genepool_server.pool.contributions.upload_statement import Ticket
from genepool_server.pool.contributions.uploads import Spool
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import contribution_rows, site_rows
from genepool_server.pool.sites import membership
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Contribution, ContributionState, LoadedBlueprint

_log: Final = logging.getLogger(__name__)

Inspect = Callable[[Fitting, Path], Sound]


@dataclass(frozen=True, slots=True)
class Intake:
    """The way in (its checks have the numbers of SPEC.md). Thread-safe; made by the pool, which calls `recover` first.

    Attributes:
        ledger: sites, contributions.
        log: where contributions are logged.
        notary: signs what is decided about them.
        spool: unfinished uploads; their bytes are handed to it, under a lease.
        blobs: accepted weights.
        blueprints: of which learngenes are taken.
        nonce_key: authenticates nonces.
        automatic: whether what passes every check becomes active at once.
        quotas: what one site may take.
        inspect: checks 14 to 16; `content.check`, or the same in a process of its own.
        arrived: set whenever a contribution was committed; whoever reviews them clears it.
    """

    ledger: Ledger
    log: Log
    notary: Notary
    spool: Spool
    blobs: Blobs
    blueprints: Sequence[LoadedBlueprint]
    nonce_key: bytes
    automatic: bool
    quotas: Quotas
    inspect: Inspect
    arrived: threading.Event = field(default_factory=threading.Event)

    def recover(self) -> None:
        """Put right what a process left that ended inside `commit`.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        for ticket in self.spool.tickets():
            sha256 = parse_manifest(ticket.manifest).file.sha256
            with self.ledger.read() as tx:
                logged = contribution_rows.exists(tx, ticket.upload_id)
                taken = contribution_rows.weights_known(tx, sha256, "")
            if logged:
                self.spool.discard(ticket.upload_id)
            elif not taken and self.blobs.holds(sha256) and not self.spool.status(ticket.upload_id)[0]:
                # its bytes were published, and then the transaction did not happen
                self.spool.moved(ticket.upload_id, self.blobs.path(sha256))

    def begin_nonce(self, site: str, now: datetime) -> Nonce:
        """A nonce for the site's next contribution, and where its chain stands. Writes nothing.

        Raises:
            NotFound: SITE_UNKNOWN.
            Refused: SITE_NOT_ACTIVE or KEY_REVOKED.
        """
        with self.ledger.read() as tx:
            record = membership.known(tx, site)
            statement.require_active(record.name, record.state)
            seq, payload, _, _ = contribution_rows.chain(tx, site)
        expires = now.astimezone(UTC) + timedelta(seconds=LIMITS.nonce_seconds)
        nonce = nonces.issue(self.nonce_key, site, expires)
        return Nonce(nonce, expires.strftime("%Y-%m-%dT%H:%M:%SZ"), seq, payload, self.log.checkpoint)

    def begin(self, bundle: bytes, manifest: bytes, now: datetime, caller: str | None = None) -> Begun:
        """Checks 3 to 12; a statement that passes them may upload its weights.

        Args:
            bundle: model.sig.
            manifest: manifest.json.
            now: the time.
            caller: the site that the certificate of the call names; None: nobody called, this is the pool's machine.

        Raises:
            InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED, MANIFEST_MALFORMED, DIGEST_MISMATCH,
                ARCH_MISMATCH.
            VerificationError: KEY_UNKNOWN, SIGNATURE_INVALID, LOG_FORK.
            Refused: SITE_NOT_ACTIVE, KEY_REVOKED, AUDIENCE_MISMATCH, SITE_MISMATCH, MANIFEST_EXPIRED, NONCE_INVALID,
                SEQ_GAP, SEQ_CONFLICT, PREV_MISMATCH, CERT_MISMATCH.
            NotFound: BLUEPRINT_UNKNOWN.
            Unavailable: TOO_MANY_UPLOADS, SPOOL_FULL, QUOTA_EXCEEDED.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self.ledger.read() as tx:
            claim = self._claim(tx, bundle, manifest, now)
            _require_caller(claim, caller)
            size = claim.manifest.file.size
            if contribution_rows.exists(tx, claim.contribution_id):  # 8
                return Begun(claim.contribution_id, size, already_logged=True)
            architecture.check(self._current(tx, claim, now), self.blueprints)
            quotas.check_day(tx, self.quotas, claim.site, now)
        self._sweep(claim, now)
        committed = self.spool.begin(Ticket(claim.contribution_id, claim.site, size, bundle, manifest))
        return Begun(claim.contribution_id, committed, already_logged=False)

    def status(self, upload_id: str) -> tuple[int, bool]:
        """How many bytes are durable, and whether the upload is finished.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        try:
            return self.spool.status(upload_id)
        except NotFound:
            contribution = self._logged(upload_id)
            if contribution is None:
                raise
            return contribution.size_bytes, True

    def owner(self, upload_id: str) -> str:
        """The site whose upload or contribution that is.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
        """
        try:
            return self.spool.ticket(upload_id).site
        except NotFound:
            contribution = self._logged(upload_id)
            if contribution is None:
                raise
            return contribution.site

    def commit(self, upload_id: str, now: datetime) -> Committed:
        """Checks 3 to 12 again, 14 to 16 on the bytes, then the log entry. The same upload gives the same receipt.

        Raises:
            NotFound: UPLOAD_UNKNOWN, BLUEPRINT_UNKNOWN.
            Refused: UPLOAD_INCOMPLETE, DUPLICATE_WEIGHTS, and what `begin` refuses.
            InvalidInput: DIGEST_MISMATCH, SAFETENSORS_MALFORMED, ARCH_MISMATCH, NON_FINITE, NORM_BOUND: the bytes are
                discarded, the statement may begin again.
            VerificationError: as `begin`.
            StorageError: DISK_FULL or DISK_FAILED: commit again.
        """
        contribution = self._logged(upload_id)  # 8
        if contribution is None:
            try:
                with self.spool.complete(upload_id) as path:
                    if self._logged(upload_id) is None:  # else another call was faster
                        self._accept(upload_id, path, now)
            except NotFound:
                if self._logged(upload_id) is None:  # else it was so much faster that the upload is gone
                    raise
            contribution = self._logged(upload_id)
        if contribution is None:
            raise GenepoolError("INTERNAL", "a contribution is not there after it was committed")
        self.log.publish()
        self.spool.discard(upload_id)
        self.arrived.set()
        return Committed(
            contribution.receipt,
            contribution.contribution_id,
            contribution.state,
            contribution.sha256,
            contribution.size_bytes,
        )

    def _accept(self, upload_id: str, path: Path, now: datetime) -> None:
        ticket = self.spool.ticket(upload_id)
        with self.ledger.read() as tx:
            claim = self._claim(tx, ticket.bundle, ticket.manifest, now)
            fitting = architecture.check(self._current(tx, claim, now), self.blueprints)
        try:
            sound = self._sound(fitting, path)
            with self.log.transaction() as tx:
                self._record(tx, sound, now)
        except (InvalidInput, Refused) as exc:
            if isinstance(exc, InvalidInput) or exc.reason == "DUPLICATE_WEIGHTS":
                self.spool.discard(upload_id)  # these bytes can never become a contribution
            raise

    def _sound(self, fitting: Fitting, path: Path) -> Sound:
        # an earlier commit may have published the bytes and failed after that
        where = path if path.is_file() else self.blobs.local(fitting.claim.manifest.file.sha256)
        with durable.translated(where):
            return self.inspect(fitting, where)

    def _record(self, tx: Connection, sound: Sound, now: datetime) -> None:
        """Everything that makes a contribution, in one transaction; what can be refused is refused before it."""
        claim = sound.claim
        manifest = claim.manifest
        self._current(tx, claim, now)  # no other contribution can come between this and the end of the transaction
        quotas.check_day(tx, self.quotas, claim.site, now)
        if contribution_rows.weights_known(tx, manifest.file.sha256, manifest.file.tensor_digest):
            raise content.duplicate()
        quotas.count(tx, claim.site, now)
        self.blobs.publish(sound.path, manifest.file.sha256)
        entry = self.log.append(tx, claim.verified)
        initial: ContributionState = "ACTIVE" if self.automatic else "QUARANTINED"
        contribution_rows.add(
            tx,
            **contribution_rows.columns_of(manifest, claim.contribution_id, claim.verified.key.keyid),
            state=initial,
            note=decisions.PASSED if self.automatic else "",
            log_index=entry.index,
            manifest=claim.raw,
            receipt=self.log.receipt(claim.bundle, entry),
        )
        if self.automatic:
            self.notary.admitted(tx, claim.contribution_id, manifest.file.sha256, passed=True, policy="automatic")

    def _claim(self, tx: Connection, bundle: bytes, manifest: bytes, now: datetime) -> Claim:
        return statement.check(bundle, manifest, partial(site_rows.signer, tx), now)

    def _current(self, tx: Connection, claim: Claim, now: datetime) -> Current:
        site = membership.known(tx, claim.site)
        statement.require_active(site.name, site.state)
        seq, payload, spent, delta = contribution_rows.chain(tx, claim.site)
        drawn = partial(contribution_rows.drawn, tx, claim.site)
        used = contribution_rows.nonce_used(tx, claim.manifest.nonce)
        standing = state.ClaimStanding(
            self.log.key.name, self.nonce_key, used, seq, payload, spent, delta, drawn, self.log.root
        )
        return state.check(claim, standing, now)

    def _sweep(self, claim: Claim, now: datetime) -> None:
        """Discard the site's other uploads that could not begin any more, so that they do not fill its quota."""
        for ticket in self.spool.tickets():
            if ticket.site == claim.site and ticket.upload_id != claim.contribution_id:
                try:
                    with self.ledger.read() as tx:
                        self._current(tx, self._claim(tx, ticket.bundle, ticket.manifest, now), now)
                except Refused as exc:
                    _log.info("the upload %s can no longer be committed: %s", ticket.upload_id[:16], exc.reason)
                    self.spool.discard(ticket.upload_id)

    def _logged(self, contribution_id: str) -> Contribution | None:
        with self.ledger.read() as tx:
            return contribution_rows.contribution(tx, self.blobs.path, contribution_id)


def _require_caller(claim: Claim, caller: str | None) -> None:
    """Who talks and who vouches must be one site."""
    if caller is not None and caller != claim.site:
        raise Refused(
            "CERT_MISMATCH",
            f"the certificate is of {caller}, and {claim.site} signed the statement",
            "submit with the certificate of the site that signed",
        )
