"""DescendService: a descendant's bytes as they are built, then the attested documents."""

from collections.abc import AsyncIterator
from typing import Any

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2, consume_pb2_grpc, types_pb2
from genepool_server.pool.view import PoolView
from genepool_server.serving import attest, convert
from genepool_server.serving.service import Order, Serving


class DescendServicer(consume_pb2_grpc.DescendServiceServicer):
    """See consume.proto. Raises our errors; the front's interceptor puts them on the wire.

    It also ends the call of a consumer that takes no chunk.

    Args:
        view: the pool's read side.
        serving: who builds.
        release_key: what descendants are signed with.
        origin: the pool's name.
    """

    def __init__(self, view: PoolView, serving: Serving, release_key: SigningKey, origin: str) -> None:
        self._view = view
        self._serving = serving
        self._release_key = release_key
        self._origin = origin

    async def Descend(  # noqa: N802
        self, request: consume_pb2.DescendRequest, context: Any
    ) -> AsyncIterator[consume_pb2.DescendResponse]:
        """The header, model.safetensors from the offset on, the attestation."""
        weights, budget = convert.weights_of(request.weights), convert.budget_of(request.budget)
        order = await self._serving.order(request.blueprint, weights, budget)
        async with await self._serving.descend(order) as descent:
            # a consumer that hangs up while a chunk is on its way ends the call, not this generator
            context.add_done_callback(lambda _: descent.release())
            yield consume_pb2.DescendResponse(header=_header(order))
            async for chunk in descent.chunks(request.resume_offset):
                yield consume_pb2.DescendResponse(chunk=chunk)
            descent.release()
            files = await self._serving.blocking(attest.attest, order, descent.sha256, self._release_key, self._origin)
            yield consume_pb2.DescendResponse(attestation=consume_pb2.DescendAttestation(files=files))


def _header(order: Order) -> consume_pb2.DescendHeader:
    size = types_pb2.Size(depth=order.size.depth, heads=order.size.heads)
    return consume_pb2.DescendHeader(size=size, total_bytes=order.total_bytes)
