"""DescendService: a descendant's bytes as they are built, then the attested documents."""

from collections.abc import AsyncIterator
from typing import Any

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2, consume_pb2_grpc, contribute_pb2, types_pb2
from genepool_protocol.wire.errors import InvalidInput, NotFound, StorageError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.guards.arrivals import ARRIVALS
from genepool_server.front.guards.calls import note
from genepool_server.front.guards.strangers import Strangers
from genepool_server.front.services import consumer_messages
from genepool_server.front.services.messages import contribution_state
from genepool_server.serving import descend_request, descendant_documents
from genepool_server.serving.pool_view import ContributionsView, PoolView
from genepool_server.serving.service import Order, Serving


class DescendServicer(consume_pb2_grpc.DescendServiceServicer):
    """See consume.proto. Raises our errors; the front's interceptor puts them on the wire.

    It also ends the call of a consumer that takes no chunk.

    Args:
        view: the pool's read side.
        serving: who builds.
        release_key: what descendants are signed with.
        origin: the pool's name.
        strangers: how often an address without a certificate may descend.
    """

    def __init__(
        self, view: PoolView, serving: Serving, release_key: SigningKey, origin: str, strangers: Strangers
    ) -> None:
        self._view = view
        self._serving = serving
        self._release_key = release_key
        self._origin = origin
        self._strangers = strangers

    async def CheckStatus(  # noqa: N802
        self,
        request: consume_pb2.CheckStatusRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> consume_pb2.CheckStatusResponse:
        """Whether what descendants were made from is still there: the first ones that fit into a message."""
        if len(request.contribution_ids) + len(request.descendants) > LIMITS.log_entries:
            raise InvalidInput(
                "OPTION_INVALID", f"more than {LIMITS.log_entries} states were asked for", "ask several times"
            )
        return await self._serving.blocking(_statuses, self._view.contributions, request)

    async def Descend(  # noqa: N802
        self, request: consume_pb2.DescendRequest, context: Any
    ) -> AsyncIterator[consume_pb2.DescendResponse]:
        """The header, model.safetensors from the offset on, the attestation in one message or several."""
        if not context.auth_context().get("x509_pem_cert"):
            self._strangers.take(ARRIVALS.peer(context))
        weights, budget = consumer_messages.weights_of(request.weights), consumer_messages.budget_of(request.budget)
        async with await self._serving.descend(request.blueprint, weights, budget) as descent:
            order = descent.order
            # a consumer that hangs up while a chunk is on its way ends the call, not this generator
            context.add_done_callback(lambda _: descent.release())
            yield consume_pb2.DescendResponse(header=_header(order))
            try:
                async for chunk in descent.chunks(request.resume_offset):
                    yield consume_pb2.DescendResponse(chunk=chunk)
            except StorageError:
                # a learngene that was erased meanwhile cannot be read any more: then this says so
                await self._serving.blocking(
                    descend_request.still_usable, self._view, [member for member, _ in order.members]
                )
                raise
            descent.release()
            note(digest=descent.sha256, size=order.total_bytes)
            descended = descendant_documents.descended(order, descent.sha256)
            await self._serving.blocking(self._view.contributions.descendants.release, descended)
            files = await self._serving.blocking(
                descendant_documents.attest, order, descent.sha256, self._release_key, self._origin
            )
            for part, more in descendant_documents.parts(files):
                yield consume_pb2.DescendResponse(attestation=consume_pb2.DescendAttestation(files=part, more=more))


def _header(order: Order) -> consume_pb2.DescendHeader:
    size = types_pb2.Size(depth=order.size.depth, heads=order.size.heads)
    return consume_pb2.DescendHeader(size=size, total_bytes=order.total_bytes)


def _statuses(view: ContributionsView, request: consume_pb2.CheckStatusRequest) -> consume_pb2.CheckStatusResponse:
    answer, room = consume_pb2.CheckStatusResponse(), LIMITS.chunk_bytes
    for name in request.contribution_ids:
        if room <= 0:  # the consumer sees that states are missing, and asks again for those
            return answer
        answer.contributions.append(_contribution(view, name))
        room -= answer.contributions[-1].ByteSize()
    for sha256 in request.descendants:
        if room <= 0:
            return answer
        answer.descendants.append(_descendant(view, sha256))
        room -= answer.descendants[-1].ByteSize()
    return answer


def _contribution(view: ContributionsView, name: str) -> consume_pb2.ContributionStatus:
    try:
        standing = view.standing(name)
    except NotFound:
        return consume_pb2.ContributionStatus(contribution_id=name)
    state = contribution_state(standing.state)
    return consume_pb2.ContributionStatus(contribution_id=name, state=state, withdrawal=standing.withdrawal)


def _descendant(view: ContributionsView, sha256: str) -> consume_pb2.DescendantStatus:
    descended = view.descendants.find(sha256)
    if descended is None:
        return consume_pb2.DescendantStatus(sha256=sha256)
    gone = [name for name in descended.members if view.get(name).state == "WITHDRAWN"]
    state = contribute_pb2.CONTRIBUTION_STATE_WITHDRAWN if gone else contribute_pb2.CONTRIBUTION_STATE_ACTIVE
    return consume_pb2.DescendantStatus(sha256=sha256, state=state, withdrawn=gone)
