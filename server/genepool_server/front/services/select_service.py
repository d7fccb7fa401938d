"""SelectService: domain embeddings and thin slices for selections at home, and TALS on the pool's workers."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from genepool_protocol.v1 import consume_pb2, consume_pb2_grpc
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.guards.calls import note
from genepool_server.front.services import consumer_messages
from genepool_server.serving.pool_view import PoolView
from genepool_server.serving.service import Serving


class SelectServicer(consume_pb2_grpc.SelectServiceServicer):
    """See consume.proto. Raises our errors; the front's interceptor puts them on the wire.

    Args:
        view: the pool's read side.
        serving: who computes.
    """

    def __init__(self, view: PoolView, serving: Serving) -> None:
        self._view = view
        self._serving = serving

    async def ListKeys(  # noqa: N802
        self,
        request: consume_pb2.ListKeysRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[consume_pb2.ListKeysResponse]:
        """Every active contribution with its domain embedding, sorted by id."""
        async with aclosing(self._serving.embeddings(request.blueprint, request.licenses)) as embeddings:
            async for contribution, embedding in embeddings:
                note(size=embedding.mean.nbytes)
                yield consumer_messages.embedding_message(contribution, embedding)

    async def GetThin(  # noqa: N802
        self,
        request: consume_pb2.GetThinRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[consume_pb2.GetThinResponse]:
        """Thin slices as safetensors files, one after the other, in chunks."""
        _check_count(request.contribution_ids)
        async with aclosing(self._serving.thin(request.blueprint, request.contribution_ids)) as files:
            async for contribution_id, raw in files:
                note(size=len(raw))
                for start in range(0, len(raw), LIMITS.chunk_bytes):
                    end = start + LIMITS.chunk_bytes
                    yield consume_pb2.GetThinResponse(
                        contribution_id="" if start else contribution_id, chunk=raw[start:end], last=end >= len(raw)
                    )

    async def Select(  # noqa: N802
        self, request: consume_pb2.SelectRequest, context: Any
    ) -> AsyncIterator[consume_pb2.SelectResponse]:
        """Progress, then the selection. A consumer that hangs up cancels the work."""
        events: asyncio.Queue[consume_pb2.SelectResponse | None] = asyncio.Queue()
        work = asyncio.get_running_loop().create_task(self._select(request, events))
        work.add_done_callback(lambda _: events.put_nowait(None))
        context.add_done_callback(partial(_cancel, weakref.ref(work)))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield await work
        finally:
            work.cancel()

    async def _select(
        self, request: consume_pb2.SelectRequest, events: asyncio.Queue[consume_pb2.SelectResponse | None]
    ) -> consume_pb2.SelectResponse:
        note(size=len(request.pixels))
        loaded = await self._serving.blocking(self._view.blueprint, request.blueprint)
        selection = await self._serving.select(
            request.blueprint,
            consumer_messages.pixels_of(loaded.blueprint, request.pixels),
            list(request.labels),
            list(request.licenses),
            lambda *event: events.put_nowait(consumer_messages.progress_message(*event)),
        )
        names = [candidate.contribution_id for candidate in selection.candidates]
        known = self._view.contributions
        contributions = await self._serving.blocking(lambda: {name: known.get(name) for name in names})
        return consumer_messages.selection_message(selection, contributions)


def _cancel(work: "weakref.ref[asyncio.Task[consume_pb2.SelectResponse]]", _: object) -> None:
    """Cancel work that is still there; held strongly, it and the call would keep each other, and the images, alive."""
    if (task := work()) is not None:
        task.cancel()


def _check_count(ids: Sequence[str]) -> None:
    if not 1 <= len(ids) <= LIMITS.short_list:
        raise InvalidInput(
            "OPTION_INVALID", f"{len(ids)} thin slices were asked for", f"ask for 1 to {LIMITS.short_list} at a time"
        )
