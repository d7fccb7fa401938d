"""ContributeService: statement first, then bytes, then an idempotent commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from genepool_protocol.trust.enrolment import read_csr
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import contribute_pb2_grpc
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.guards.callers import Callers
from genepool_server.front.guards.calls import note
from genepool_server.front.guards.slow_clients import Pace, too_slow
from genepool_server.front.services import pages
from genepool_server.front.services.messages import contribution_state
from genepool_server.pool.contributions.contributions import Contributions, unknown_contribution
from genepool_server.pool.contributions.uploads import unknown_upload
from genepool_server.pool.sites.campaigns import Campaigns


class ContributeServicer(contribute_pb2_grpc.ContributeServiceServicer):
    """See contribute.proto. Raises our errors; the front's interceptor puts them on the wire.

    Args:
        contributions: who decides and keeps.
        campaigns: in which sites are invited.
        callers: tells who calls.
        stall_seconds: an upload that sends nothing for so long is ended.
        now: the clock.
    """

    def __init__(
        self,
        contributions: Contributions,
        campaigns: Campaigns,
        callers: Callers,
        stall_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._contributions = contributions
        self._campaigns = campaigns
        self._intake = contributions.intake
        self._callers = callers
        self._stall_seconds = stall_seconds
        self._now = now

    async def BeginNonce(  # noqa: N802
        self,
        request: pb.BeginNonceRequest,
        context: Any,
    ) -> pb.BeginNonceResponse:
        """A nonce for the site's next manifest."""
        caller = self._callers(context).site
        if request.site != caller:
            raise Refused(
                "CERT_MISMATCH",
                f"the certificate is of {caller}, the nonce for {request.site[:64]!r}",
                "use each site's own certificate",
            )
        nonce = await asyncio.to_thread(self._intake.begin_nonce, request.site, self._now())
        return pb.BeginNonceResponse(
            nonce=nonce.nonce,
            expires=nonce.expires,
            last_seq=nonce.last_seq,
            last_payload_sha256=nonce.last_payload_sha256,
            checkpoint=nonce.checkpoint,
        )

    async def Begin(  # noqa: N802
        self,
        request: pb.BeginRequest,
        context: Any,
    ) -> pb.BeginResponse:
        """The checks on statement and manifest."""
        caller = self._callers(context).site
        begun = await asyncio.to_thread(self._intake.begin, request.bundle, request.manifest, self._now(), caller)
        return pb.BeginResponse(
            upload_id=begun.upload_id,
            committed_size=begun.committed_size,
            max_chunk_bytes=LIMITS.chunk_bytes,
            already_logged=begun.already_logged,
        )

    async def Write(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.WriteRequest],
        context: Any,
    ) -> pb.WriteResponse:
        """Chunks of one upload. A killed client looks like a clean end: an end without finish_write means nothing."""
        pace = Pace(self._stall_seconds)
        upload_id, lease = "", 0
        while (message := await _next(request_iterator, pace)) is not None:
            if not upload_id:
                upload_id = await self._own(message.upload_id, context)
                lease = await asyncio.to_thread(self._intake.spool.lease, upload_id)
            elif message.upload_id not in ("", upload_id):
                raise InvalidInput(
                    "OPTION_INVALID", "a stream writes to two uploads", "open one stream for each upload"
                )
            pace.took(len(message.data))
            if message.data:
                await asyncio.to_thread(self._intake.spool.append, upload_id, message.offset, message.data, lease)
            if message.finish_write:
                size = await asyncio.to_thread(self._intake.spool.finish, upload_id, lease)
                note(size=size, state="RECEIVED")
                return pb.WriteResponse(committed_size=size)
        committed, _ = await asyncio.to_thread(self._intake.status, upload_id)
        return pb.WriteResponse(committed_size=committed)

    async def QueryWriteStatus(  # noqa: N802
        self,
        request: pb.QueryWriteStatusRequest,
        context: Any,
    ) -> pb.QueryWriteStatusResponse:
        """How many bytes are durable."""
        upload_id = await self._own(request.upload_id, context)
        committed, finished = await asyncio.to_thread(self._intake.status, upload_id)
        return pb.QueryWriteStatusResponse(committed_size=committed, finished=finished)

    async def Commit(  # noqa: N802
        self,
        request: pb.CommitRequest,
        context: Any,
    ) -> pb.CommitResponse:
        """The checks on the bytes, then the log entry."""
        upload_id = await self._own(request.upload_id, context)
        committed = await asyncio.to_thread(self._intake.commit, upload_id, self._now())
        note(digest=committed.sha256, size=committed.size_bytes, state=committed.state)
        return pb.CommitResponse(
            receipt=committed.receipt,
            contribution_id=committed.contribution_id,
            state=contribution_state(committed.state),
        )

    async def GetContribution(  # noqa: N802
        self,
        request: pb.GetContributionRequest,
        context: Any,
    ) -> pb.GetContributionResponse:
        """The state and receipt of a contribution."""
        caller = self._callers(context)
        contribution = await asyncio.to_thread(self._contributions.get, request.contribution_id)
        if contribution.site != caller.site and "auditor" not in caller.roles:
            raise unknown_contribution(request.contribution_id)  # whether another site has it is not said
        return pb.GetContributionResponse(
            state=contribution_state(contribution.state), note=contribution.note, receipt=contribution.receipt
        )

    async def JoinCampaign(  # noqa: N802
        self, request: pb.JoinCampaignRequest, context: Any
    ) -> pb.JoinCampaignResponse:
        """Enter the caller's node into the campaign that runs."""
        site, key = self._callers(context).site, read_csr(request.node_csr, "node's request")
        record = await asyncio.to_thread(self._campaigns.enter, site, key)
        return pb.JoinCampaignResponse(
            campaign_id=record.id,
            address=record.address,
            bundle_sha256=record.bundle,
            ends=record.deadline,
            ready=record.alive and bool(record.address) and record.nodes.get(site) == key.keyid,
        )

    async def Withdraw(  # noqa: N802
        self,
        request: pb.WithdrawRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.WithdrawResponse:
        """The end of a contribution, by its site's word: the signature is the proof, whoever brings it."""
        withdrawn = await asyncio.to_thread(self._contributions.withdrawals.withdraw, request.bundle)
        note(digest=withdrawn.contribution_id, state="WITHDRAWN")
        return pb.WithdrawResponse(
            receipt=withdrawn.receipt, erased=withdrawn.erased, descendant_count=withdrawn.descendants
        )

    async def GetDescendants(  # noqa: N802
        self,
        request: pb.GetDescendantsRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.GetDescendantsResponse:
        """A page of what was handed over before the end; the signed withdrawal is the right to see it."""
        after = pages.after(request.page_token)
        return await asyncio.to_thread(
            lambda: pages.page(self._contributions.withdrawals.descendants(request.bundle, after, LIMITS.page_rows))
        )

    async def _own(self, upload_id: str, context: Any) -> str:
        """The id of an upload of the caller's; another site's is as unknown as one that does not exist."""
        if await asyncio.to_thread(self._intake.owner, upload_id) != self._callers(context).site:
            raise unknown_upload(upload_id)
        return upload_id


async def _next(messages: AsyncIterator[pb.WriteRequest], pace: Pace) -> pb.WriteRequest | None:
    try:
        async with pace.limit():
            return await anext(messages, None)
    except TimeoutError as exc:
        raise too_slow("nothing came for a while") from exc
