"""Signing and submitting, once: repeating it after any interruption ends with the same receipt.

An artefact is whole in the outbox before a byte is sent. When the pool's nonce has ended, the same weights are signed
again under a fresh one. A receipt counts after its signature, inclusion proof and checkpoint were verified, and after
the checkpoint was proved to extend the last one that this site saw.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from genepool_client.site import enrolment, outbox, packing, steps
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import SiteBlueprint
from genepool_client.site.outbox import Artefact
from genepool_client.site.packing import Chain, Facts
from genepool_client.site.steps import Condensed
from genepool_client.training import privacy
from genepool_client.transport import upload
from genepool_client.transport.channel import Connection
from genepool_client.transport.logview import LogView, fetch_from, head_of
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.manifest import Privacy, Training
from genepool_protocol.progress import Progress
from genepool_protocol.trust import envelope
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, VerificationError

_SIGN_AGAIN: Final = frozenset(
    {"NONCE_INVALID", "MANIFEST_EXPIRED", "SEQ_GAP", "PREV_MISMATCH", "SEQ_CONFLICT", "KEY_REVOKED", "PRIVACY_SHRINKS"}
)
_BEGIN_AGAIN: Final = frozenset({"UPLOAD_UNKNOWN", "UPLOAD_INCOMPLETE"})
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Submitted:
    """A contribution that the log is proved to hold."""

    contribution_id: str
    seq: int
    state: str
    sha256: str
    size_bytes: int
    log_index: int


def check_leave(site: SiteFolder, connection: Connection) -> None:
    """Ask the pool whether the site may contribute now: training takes hours, and the answer a second.

    Raises:
        Refused: SITE_NOT_ACTIVE, ROLE_MISSING or KEY_REVOKED.
        NotFound: SITE_UNKNOWN.
        VerificationError: KEY_UNKNOWN, the pool knows the site under other keys.
        GenepoolError: the pool cannot be reached, or is another one.
    """
    connection.capabilities()
    enrolment.state(site, connection)
    connection.call(connection.contribute.BeginNonce, pb.BeginNonceRequest(site=site.config.name))


def submit(source: SiteBlueprint, connection: Connection, progress: Progress) -> Submitted:
    """Sign what was condensed and hand it to the pool.

    Args:
        source: the site, with its blueprint.
        connection: to its pool, under its certificate.
        progress: told of the upload.

    Raises:
        InvalidInput: STEP_MISSING, nothing was condensed.
        VerificationError: the receipt does not hold, or LOG_FORK.
        GenepoolError: what the pool refused, or the pool cannot be reached.
    """
    record, gene = steps.condensed(source.site)
    blueprint = source.blueprint
    gene["key.mean"] = (
        drawn(source.site, record).embedding().mean
    )  # the one door: whatever was condensed, this draw leaves
    return _Submission(source.site, connection, blueprint, record).run(packing.encode(blueprint, gene), progress)


def facts(site: SiteFolder, record: Condensed) -> Facts:
    """What the manifest says of a condensed learngene.

    Raises:
        InvalidInput: STEP_MISSING, the domain embedding of these images is not among those that were drawn.
    """
    training = Training(
        images=record.ancestry.images,
        classes=record.ancestry.classes,
        ancestry_steps=two_figures(record.ancestry.steps),
        condense_steps=two_figures(record.steps),
        software=packing.software(),
        intensity=record.ancestry.intensity,
    )
    draw = drawn(site, record)
    claim = privacy.read(site.drawn).claim(draw, site.config.key_spent)
    return Facts(training, Privacy(key=claim), site.config.license)


def two_figures(count: int) -> int:
    """A count with its first two figures: what is published need not say when a training stopped to the step."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return count // unit * unit


def drawn(site: SiteFolder, record: Condensed) -> privacy.Draw:
    """The noised domain embedding of the images that a learngene was condensed from.

    Raises:
        InvalidInput: STEP_MISSING, it is not among those that were drawn.
    """
    draw = steps.drawn(site, record)
    if draw is None:
        raise InvalidInput(
            "STEP_MISSING",
            f"{site.drawn} does not hold the domain embedding that was drawn from these images",
            f"restore it; if it is lost, set key_spent in site.json, then: genepool site condense {site.path} --fresh",
        )
    return draw


class _Submission:
    def __init__(self, site: SiteFolder, connection: Connection, blueprint: Blueprint, record: Condensed) -> None:
        self._site, self._connection, self._blueprint, self._record = site, connection, blueprint, record
        self._key = site.signing_key()
        self._trusted = connection.trusted
        self._view = LogView(site.checkpoint, self._trusted.log, fetch_from(connection))

    def run(self, weights: bytes, progress: Progress) -> Submitted:
        earlier = outbox.find(self._site, weights)
        if earlier is not None and earlier.received:
            return self._done(earlier, earlier.receipt(), self._known(earlier))
        self._settle(earlier)
        artefact = earlier if earlier is not None and earlier.signed else self._sign(weights, earlier)
        attempt = 0
        while True:
            attempt += 1
            artefact.check(self._signer(artefact))
            try:
                accepted = upload.submit(self._connection, artefact.bundle(), artefact.manifest(), weights, progress)
            except GenepoolError as exc:
                if attempt == _ATTEMPTS or exc.reason not in _SIGN_AGAIN | _BEGIN_AGAIN:
                    raise
                if exc.reason in _SIGN_AGAIN:
                    artefact = self._sign(weights, artefact)
            else:
                return self._done(artefact, accepted.receipt, accepted.state)

    def _signer(self, artefact: Artefact) -> VerifyingKey:
        """Whose signature must be on it: ours of today, or of before a rotation."""
        return self._site.keys.public_of(envelope.parse(artefact.bundle()).keyid)

    def _known(self, artefact: Artefact) -> str:
        """State of a contribution that we hold a receipt for."""
        accepted = self._ask(artefact.contribution_id)
        if not accepted.receipt:
            raise _lost(artefact, "no longer knows this contribution")
        return accepted.state

    def _settle(self, ours: Artefact | None) -> None:
        """Clear up artefacts of other weights whose fate is open: fetch the receipt that was lost, or drop them."""
        for artefact in outbox.artefacts(self._site):
            if artefact.received or (ours is not None and artefact.path == ours.path):
                continue
            accepted = self._ask(artefact.contribution_id) if artefact.signed else None
            if accepted is not None and accepted.receipt:
                self._done(artefact, accepted.receipt, accepted.state)
            else:
                outbox.drop(artefact)

    def _ask(self, contribution_id: str) -> upload.Accepted:
        request = pb.GetContributionRequest(contribution_id=contribution_id)
        try:
            response = self._connection.call(self._connection.contribute.GetContribution, request)
        except NotFound:
            return upload.Accepted(contribution_id, b"", "UNKNOWN")
        return upload.Accepted(contribution_id, response.receipt, upload.state_name(response.state))

    def _sign(self, weights: bytes, before: Artefact | None) -> Artefact:
        request = pb.BeginNonceRequest(site=self._site.config.name)
        nonce = self._connection.call(self._connection.contribute.BeginNonce, request)
        if self._trusted.quorum:
            head_of(self._connection, self._view)
        chain = Chain(
            pool=self._trusted.origin,
            site=self._site.config.name,
            seq=nonce.last_seq + 1,
            prev=nonce.last_payload_sha256,
            nonce=nonce.nonce,
            not_after=_moment(nonce.expires),
            observed=self._view.observe(nonce.checkpoint),
        )
        self._check_chain(chain)
        artefact = outbox.place(self._site, chain.seq, weights, before)
        file = packing.describe(artefact.weights)
        signed = packing.sign(self._blueprint, file, chain, facts(self._site, self._record), self._key)
        outbox.seal(artefact, signed)
        return artefact

    def _check_chain(self, chain: Chain) -> None:
        """A number for which we hold a receipt can never be given again: the pool has lost what it acknowledged."""
        for artefact in outbox.artefacts(self._site):
            if artefact.received and artefact.seq >= chain.seq:
                raise _lost(artefact, f"gives out number {chain.seq} again")

    def _done(self, artefact: Artefact, raw: bytes, state: str) -> Submitted:
        logged = artefact.verify(raw, self._signer(artefact), self._trusted.log)
        if not artefact.received or self._view.seen() is None:
            self._view.advance(logged.checkpoint)
            artefact.keep_receipt(raw)
        manifest = artefact.check(self._signer(artefact))
        return Submitted(
            contribution_id=artefact.contribution_id,
            seq=artefact.seq,
            state=state,
            sha256=manifest.file.sha256,
            size_bytes=manifest.file.size,
            log_index=logged.index,
        )


def _lost(artefact: Artefact, what: str) -> VerificationError:
    return VerificationError(
        "LOG_FORK",
        f"the pool {what}, and {artefact.path} holds its receipt",
        "send that receipt to the operator: the pool has lost what it acknowledged",
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInput("FILE_MALFORMED", "the pool's nonce ends at no date", "ask the operator to update") from exc
