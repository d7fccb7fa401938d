"""The end of a contribution: logged and out of every selection in one transaction, then erased.

    durable in this order:  transaction (leaf, state, receipt, sketch) -> data key, blob wiped -> transaction (erasure's
    leaf)

A sealed sketch is kept of it, by which `admission.copies` knows it again. From the first transaction on nobody is
served it. Whatever moment the process ends at, the next one finishes the rest.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from genepool_protocol.trust import envelope, events
from genepool_protocol.trust.envelope import Bundle, Verified
from genepool_protocol.trust.events import Erasure, Withdrawal
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.documents import moment
from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused, VerificationError
from genepool_server.pool.contributions.replies import WithdrawalReply
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.contributions.sketching import Sketcher
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import contribution_rows, site_rows, sketch_rows, withdrawal_rows
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Contribution, Descended


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """The way out. Thread-safe; made by the pool, which calls `recover` first.

    Attributes:
        ledger: contributions and who was made from them.
        log: where withdrawals are logged.
        notary: signs the pool's own part.
        operator_key: with which the operator withdraws.
        blobs: where weights are erased.
        sealer: which forgets how to open sealed copies of them.
        sketcher: which keeps a sketch of them.
    """

    ledger: Ledger
    log: Log
    notary: Notary
    operator_key: SigningKey
    blobs: Blobs
    sealer: Sealer
    sketcher: Sketcher

    def recover(self) -> None:
        """Finish what a process left that ended inside `withdraw`.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self.ledger.read() as tx:
            left = withdrawal_rows.unfinished(tx)
        for contribution_id in left:
            self._erase(contribution_id)

    def withdraw(self, raw: bytes) -> WithdrawalReply:
        """End a contribution: logged and out of every selection at once, then erased. Again: the same answer.

        Args:
            raw: a withdrawal that the contribution's site signed, as a bundle.

        Raises:
            InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED.
            VerificationError: KEY_UNKNOWN, SIGNATURE_INVALID.
            Refused: AUDIENCE_MISMATCH, SITE_MISMATCH, KEY_REVOKED.
            NotFound: CONTRIBUTION_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED: withdraw again.
        """
        bundle = envelope.parse(raw)
        with self.ledger.read() as tx:  # a stranger must not make anybody wait for the writer
            contribution = self._checked(tx, bundle)
            known = withdrawal_rows.withdrawal(tx, contribution.contribution_id)
        if known is None:
            sealed = self.sketcher.sealed(contribution)  # most of the work, before anybody has to wait
            with self.log.transaction() as tx:
                contribution = self._checked(tx, bundle)
                if withdrawal_rows.withdrawal(tx, contribution.contribution_id) is None:
                    self._record(tx, contribution, bundle, sealed)
        self._erase(contribution.contribution_id)
        return self._answer(contribution.contribution_id)

    def by_operator(self, contribution: Contribution, reason: str) -> WithdrawalReply:
        """See `Contributions.withdraw_as_operator`."""
        event = Withdrawal(
            pool=self.notary.origin,
            time=self.notary.time(),
            contribution_id=contribution.contribution_id,
            sha256=contribution.sha256,
            reason=reason,
        )
        return self.withdraw(envelope.sign_statement(self.operator_key, event.payload()))

    def descendants(self, raw: bytes, after: str, count: int) -> list[Descended]:
        """A page of what was made from a contribution, for whoever shows its withdrawal.

        Args:
            raw: as `withdraw`.
            after: the digest that the page before ended with; empty: the first page.
            count: at most so many.

        Raises:
            GenepoolError: as `withdraw`.
        """
        bundle = envelope.parse(raw)
        with self.ledger.read() as tx:
            return withdrawal_rows.descendants(tx, self._checked(tx, bundle).contribution_id, after, count)

    def _checked(self, tx: Connection, bundle: Bundle) -> Contribution:
        """The contribution that a bundle may withdraw: everything that can be refused is refused here."""
        verified, site, ended = self._verified(tx, bundle)
        event = events.parse(verified.payload)
        if not isinstance(event, Withdrawal):
            raise InvalidInput("STATEMENT_MALFORMED", "the signed statement is no withdrawal", "sign one with genepool")
        if event.pool != self.notary.origin:
            raise Refused("AUDIENCE_MISMATCH", "the withdrawal is for another pool", "sign it for this one")
        contribution = contribution_rows.contribution(tx, self.blobs.path, event.contribution_id)
        if contribution is None:
            raise NotFound(
                "CONTRIBUTION_UNKNOWN",
                f"the pool holds no contribution {event.contribution_id[:16]}",
                "see genepool site status",
            )
        if site not in (None, contribution.site):
            raise Refused(
                "SITE_MISMATCH",
                f"the contribution {contribution.contribution_id[:16]} is not {site}'s",
                "only its own site or the operator can withdraw it",
            )
        # who asks again after a lost answer gets it, whatever became of its key meanwhile
        if ended is not None and withdrawal_rows.withdrawal(tx, contribution.contribution_id) is None:
            raise ended
        if event.sha256 != contribution.sha256:
            raise InvalidInput("STATEMENT_MALFORMED", "the withdrawal names other weights than its contribution has")
        return contribution

    def _verified(self, tx: Connection, bundle: Bundle) -> tuple[Verified, str | None, Refused | None]:
        """The statement, its site (None for the operator), and why the key that signed it may withdraw nothing more."""
        ours = self.operator_key.public
        if bundle.keyid == ours.keyid:
            return envelope.verify(bundle, ours), None, None
        signer = site_rows.signer(tx, bundle.keyid, bundle.hint)
        if signer is None:
            raise VerificationError("KEY_UNKNOWN", "no site has the key that the withdrawal names", "enrol first")
        verified = envelope.verify(bundle, signer.key)
        ended = None
        if signer.ends is not None and moment(self.notary.time()) > signer.ends:
            ended = Refused("KEY_REVOKED", f"the site {signer.site} has replaced this key", "sign with the new one")
        if signer.state == "REVOKED":
            ended = Refused("KEY_REVOKED", f"the site {signer.site} was revoked", "ask the operator to withdraw it")
        return verified, signer.site, ended

    def _record(self, tx: Connection, found: Contribution, bundle: Bundle, sealed: bytes | None) -> None:
        verified, site, _ = self._verified(tx, bundle)
        entry = self.log.append(tx, verified)
        event = events.parse(verified.payload)
        reason = event.reason if isinstance(event, Withdrawal) else ""
        contribution_rows.set_state(tx, found.contribution_id, "WITHDRAWN", reason)
        withdrawal_rows.add(tx, found.contribution_id, entry.index, self.log.receipt(bundle, entry))
        if sealed is not None:
            self.sketcher.keep(tx, found.contribution_id, sealed, by_operator=site is None)

    def _unerased(self, contribution_id: str) -> Contribution | None:
        """A withdrawn contribution whose erasure is not logged; None: there is nothing left to do."""
        with self.ledger.read() as tx:
            row = withdrawal_rows.withdrawal(tx, contribution_id)
            contribution = contribution_rows.contribution(tx, self.blobs.path, contribution_id)
        return None if row is None or row.erased is not None else contribution

    def _erase(self, contribution_id: str) -> None:
        if self._unerased(contribution_id) is None:
            return
        with self.ledger.writing:
            contribution = self._unerased(contribution_id)
            if contribution is None:
                return
            self._sketch(contribution)
            self.sealer.forget(contribution.sha256)
            self.blobs.erase(contribution.sha256)
            with self.log.transaction() as tx:
                time = self.notary.time()
                gone = Erasure(
                    pool=self.notary.origin, time=time, contribution_id=contribution_id, sha256=contribution.sha256
                )
                entry = self.notary.record_decision(tx, gone)
                withdrawal_rows.set_erased(tx, contribution_id, entry.index)

    def _sketch(self, found: Contribution) -> None:
        """Keep a sketch of what is to be erased, if the withdrawal could not."""
        with self.ledger.read() as tx:
            row = withdrawal_rows.withdrawal(tx, found.contribution_id)
            if row is None or sketch_rows.exists(tx, found.contribution_id):
                return
        sealed = self.sketcher.last(found)
        by_operator = envelope.parse(row.receipt).keyid == self.operator_key.public.keyid
        with self.ledger.write() as tx:
            self.sketcher.keep(tx, found.contribution_id, sealed, by_operator=by_operator)

    def _answer(self, contribution_id: str) -> WithdrawalReply:
        with self.ledger.read() as tx:
            row = withdrawal_rows.withdrawal(tx, contribution_id)
            descendants = withdrawal_rows.descendant_count(tx, contribution_id)
        if row is None:
            raise NotFound("CONTRIBUTION_UNKNOWN", "the contribution was not withdrawn", "withdraw it again")
        return WithdrawalReply(contribution_id, row.receipt, row.erased is not None, descendants)
