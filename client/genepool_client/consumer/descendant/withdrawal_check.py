"""Is what a descendant was made from still there? The pool answers; a withdrawal counts when its proof holds."""

from genepool_client.consumer.descendant.folder import read_small
from genepool_client.consumer.descendant.verify import Descendant
from genepool_client.transport import log_memory
from genepool_client.transport.channel import Connection
from genepool_client.transport.logview import fetch_from, head_of
from genepool_client.transport.withdrawals import proved
from genepool_protocol.learngene import descendant
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.v1 import consume_pb2
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import Refused, VerificationError


def check(verified: Descendant, connection: Connection) -> str:
    """Ask the pool about every learngene of the lineage, and follow its log meanwhile.

    Args:
        verified: from `verify`.
        connection: to the pool that it came from.

    Returns:
        One sentence for a person.

    Raises:
        Refused: LINEAGE_WITHDRAWN, naming what was withdrawn.
        VerificationError: PROOF_INVALID, a proof does not hold; LOG_FORK; WITNESSES_MISSING.
        GenepoolError: as `Connection.call`.
    """
    trusted = connection.trusted
    head_of(connection, log_memory.view(trusted, connection.anchors, fetch_from(connection)))
    names = [item.contribution_id for item in verified.lineage.dependencies]
    states = _ask(connection, names)
    gone = [told_of for told_of in states if told_of.state != pb.CONTRIBUTION_STATE_ACTIVE]
    if gone:
        owners = {item.contribution_id: item.site for item in verified.lineage.dependencies}
        told = ", ".join(f"{told_of.contribution_id[:16]} of {owners[told_of.contribution_id]}" for told_of in gone)
        count = sum(_proved(told_of, verified, trusted) for told_of in gone)
        raise Refused(
            "LINEAGE_WITHDRAWN",
            f"{len(gone)} of its {len(names)} learngenes left the pool: {told} ({count} with the log's proof)",
            "descend anew; whether this one may still be used, its sites' terms say",
            withdrawn=" ".join(told_of.contribution_id for told_of in gone),
        )
    return f"the pool says that all {len(names)} learngenes are still there"


def _ask(connection: Connection, names: list[str]) -> list[consume_pb2.ContributionStatus]:
    """The states of these contributions; a pool answers as many at a time as fit into a message.

    Raises:
        VerificationError: PROOF_INVALID, it answered for others, or for none.
    """
    states: list[consume_pb2.ContributionStatus] = []
    while rest := names[len(states) :]:
        request = consume_pb2.CheckStatusRequest(contribution_ids=rest)
        answer: consume_pb2.CheckStatusResponse = connection.call(connection.descend.CheckStatus, request)
        answered = [one.contribution_id for one in answer.contributions]
        if not answered or answered != rest[: len(answered)]:
            raise VerificationError("PROOF_INVALID", "the pool answered for other learngenes than it was asked about")
        states += answer.contributions
    return states


def _proved(status: consume_pb2.ContributionStatus, verified: Descendant, trusted: Trusted) -> bool:
    """Whether the log proves the withdrawal; False when the pool only says so.

    Raises:
        VerificationError: PROOF_INVALID or another one, what it shows is no proof of that.
    """
    if status.state != pb.CONTRIBUTION_STATE_WITHDRAWN:
        return False
    receipts = descendant.parse_receipts(read_small(verified.folder / descendant.RECEIPTS_FILE)).receipts
    keys = [VerifyingKey.from_pem(signed.site_key_pem) for signed in receipts]
    owner = [
        key for signed, key in zip(receipts, keys, strict=True) if signed.contribution_id == status.contribution_id
    ]
    proved(status.withdrawal, status.contribution_id, owner, trusted)
    return True
