"""Taking a contribution back: signed and kept before it is sent, so that repeating it sends the very same statement.

withdrawals/ID.sig            what this site signed
withdrawals/ID.receipt.sig    the proof that the pool's log holds it
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from genepool_client.site import outbox
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic
from genepool_client.transport.logview import LogView, fetch_from
from genepool_client.transport.withdrawals import proved
from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT
from genepool_protocol.private_files import private_folder
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.events import Withdrawal
from genepool_protocol.trust.statement import check_model_statement
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import InvalidInput, NotFound, VerificationError


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A contribution that is withdrawn, with the proof verified.

    Attributes:
        contribution_id: which.
        log_index: of the withdrawal.
        erased: whether the pool says that the weights are gone from its store.
        descendants: digests of model.safetensors that were handed over before: nobody can recall them.
        unlisted: how many more were, which the pool did not list one by one.
    """

    contribution_id: str
    log_index: int
    erased: bool
    descendants: tuple[str, ...]
    unlisted: int = 0


def withdraw(site: SiteFolder, connection: Connection, identifier: str, reason: str) -> Withdrawn:
    """Withdraw one of the site's contributions; repeating it gives the same answer.

    Args:
        site: whose.
        connection: to its pool.
        identifier: id of the contribution, or its first characters when it lies in the outbox.
        reason: logged, for everybody to read.

    Raises:
        NotFound: CONTRIBUTION_UNKNOWN.
        InvalidInput: OPTION_INVALID, several start so.
        VerificationError: the pool's proof does not hold, or LOG_FORK.
        GenepoolError: what the pool refused.
    """
    name = _resolve(site, identifier)
    raw = _signed(site, connection, name, reason)
    response = connection.call(connection.contribute.Withdraw, pb.WithdrawRequest(bundle=raw))
    logged = proved(response.receipt, name, [site.signing_key().public], connection.trusted)
    LogView(site.checkpoint, connection.trusted.log, fetch_from(connection)).advance(logged.checkpoint)
    write_atomic(_folder(site) / f"{name}.receipt.sig", response.receipt)
    descendants = list(_descendants(connection, raw, response))
    listed = tuple(descendant.sha256 for descendant in descendants if descendant.sha256)
    unlisted = sum(descendant.count for descendant in descendants if not descendant.sha256)
    return Withdrawn(name, logged.index, response.erased, listed, unlisted)


def _descendants(connection: Connection, raw: bytes, answer: pb.WithdrawResponse) -> Iterator[pb.Descendant]:
    """What was handed over before, page by page; the receipt is kept by now, whatever becomes of this.

    Raises:
        InvalidInput: FIELD_MALFORMED, the pool's pages do not go on.
        GenepoolError: as `Connection.call`.
    """
    yield from answer.descendants  # of a pool that does not page yet
    token, last = "", ""
    while answer.descendant_count:
        request = pb.GetDescendantsRequest(bundle=raw, page_token=token)
        page = connection.call(connection.contribute.GetDescendants, request)
        for descendant in page.descendants:
            if descendant.sha256:
                if descendant.sha256 <= last:
                    raise InvalidInput("FIELD_MALFORMED", "the pool's list of descendants goes in circles", "try again")
                last = descendant.sha256
            yield descendant
        if page.page_token in ("", token):
            return
        token = page.page_token


def _folder(site: SiteFolder) -> Path:
    return private_folder(site.path / "withdrawals")


def _resolve(site: SiteFolder, identifier: str) -> str:
    prefix = identifier.lower()
    ours = {contribution.contribution_id for contribution in outbox.artefacts(site) if contribution.signed}
    matches = sorted(contribution for contribution in ours if prefix and contribution.startswith(prefix))
    if len(matches) > 1:
        raise InvalidInput(
            "OPTION_INVALID", f"{len(matches)} contributions start with {prefix!r}", "give more of the id"
        )
    if matches or digest.is_sha256_hex(prefix):
        return matches[0] if matches else prefix
    raise NotFound(
        "CONTRIBUTION_UNKNOWN",
        f"no contribution in the outbox starts with {identifier[:64]!r}",
        "see genepool site status; one that left the outbox needs its whole id",
    )


def _signed(site: SiteFolder, connection: Connection, name: str, reason: str) -> bytes:
    path = _folder(site) / f"{name}.sig"
    if path.exists():
        return path.read_bytes()
    event = Withdrawal(
        pool=connection.trusted.origin,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        contribution_id=name,
        sha256=_weights(site, connection, name),
        reason=reason,
    )
    raw = envelope.sign_statement(site.signing_key(), event.payload())
    write_atomic(path, raw)
    return raw


def _weights(site: SiteFolder, connection: Connection, name: str) -> str:
    """Digest of the weights, out of the statement that this site signed; the pool has it when the outbox has not."""
    for artefact in outbox.artefacts(site):
        if artefact.signed and artefact.contribution_id == name:
            raw = artefact.bundle()
            break
    else:
        request = pb.GetContributionRequest(contribution_id=name)
        raw = connection.call(connection.contribute.GetContribution, request).receipt
    verified = envelope.verify(envelope.parse(raw), site.signing_key().public)
    stated = check_model_statement(verified, SUBJECT, [LEARNGENE_FILE, MANIFEST_FILE], ignore=[BUNDLE_FILE])
    if stated.payload_sha256 != name:
        raise VerificationError("PROOF_INVALID", "the pool answered another contribution", "ask the operator")
    return stated.digests[LEARNGENE_FILE]
