"""The pool's own word on a claim, on its own machine: through the operator's socket, without an auditor's key."""

import time
from pathlib import Path
from typing import Final

import grpc

from genepool_protocol.machine import operator_door
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1.operator_pb2_grpc import OperatorServiceStub
from genepool_protocol.wire.errors import NotFound, Refused, Unavailable, VerificationError
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.campaign.claims import ReceiptClaim
from genepool_server.campaign.confirm import check_receipt
from genepool_server.front.services.messages import contribution_of
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.records import Contribution
from genepool_server.root.repository import Repository

_TIMEOUT: Final = 60.0  # seconds of one call
_PATIENCE: Final = 60.0  # seconds; a pool that restarts is waited for
_POLL: Final = 1.0  # seconds
_OUT: Final = ("REJECTED", "WITHDRAWN")


class OperatorWitness:
    """Asks the server of a pool's folder whether it holds what a site claims.

    Args:
        folder: of the pool.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def confirm(self, claim: ReceiptClaim, site: str) -> int:
        """The log index of the claimed contribution.

        Args:
            claim: what came through Flower.
            site: whose node brought it.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN, the pool does not hold it, or not for this site.
            Refused: CONTRIBUTION_NOT_ACTIVE, it was rejected or withdrawn.
            VerificationError: PROOF_INVALID or CHECKPOINT_INVALID, the pool's receipt is not for what was claimed.
            Unavailable: POOL_UNREACHABLE.
            GenepoolError: what went wrong on the socket.
        """
        contribution = self._contribution(claim.contribution_id)
        if contribution is None or contribution.site != site:
            raise NotFound("CONTRIBUTION_UNKNOWN", f"the pool holds no contribution of {site} with the receipt's id")
        if contribution.state in _OUT:
            raise Refused("CONTRIBUTION_NOT_ACTIVE", f"the contribution is {contribution.state}: {contribution.note}")
        if contribution.size_bytes != claim.size_bytes:
            raise VerificationError("PROOF_INVALID", "the receipt states another size than the pool's learngene has")
        return check_receipt(contribution.receipt, claim, self._trusted().log)

    def _contribution(self, contribution_id: str) -> Contribution | None:
        request = op.ListContributionsRequest(prefix=contribution_id)
        with grpc.insecure_channel(f"unix:{self._socket()}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                responses = OperatorServiceStub(channel).ListContributions(request, timeout=_TIMEOUT)
                return next((contribution_of(response.contribution) for response in responses), None)
            except grpc.RpcError as exc:
                raise from_rpc_error(exc, f"the socket of {self._folder}") from exc

    def _socket(self) -> Path:
        deadline = time.monotonic() + _PATIENCE
        while (path := operator_door.running(self._folder)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(
                    "POOL_UNREACHABLE",
                    f"no server serves {self._folder}",
                    f"start it with: genepool-server serve {self._folder}",
                )
            time.sleep(_POLL)
        return path

    def _trusted(self) -> Trusted:
        return Repository(PoolFolder(self._folder).trust).trusted()
