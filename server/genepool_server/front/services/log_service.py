"""LogService: the append-only log, for everybody."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from genepool_protocol.v1 import pool_pb2, pool_pb2_grpc
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.witnessing import Cosigned


class LogServicer(pool_pb2_grpc.LogServiceServicer):
    """See pool.proto. Raises our errors; the front's interceptor puts them on the wire.

    Args:
        log: leaves, tiles and proofs.
        heads: of the log, with the witnesses' cosignatures.
    """

    def __init__(self, log: Log, heads: Cosigned) -> None:
        self._log = log
        self._heads = heads

    async def GetCheckpoint(  # noqa: N802
        self,
        request: pool_pb2.GetCheckpointRequest,  # noqa: ARG002 - the interface
        context: Any,  # noqa: ARG002 - the interface
    ) -> pool_pb2.GetCheckpointResponse:
        """The latest signed tree head."""
        latest, witnessed = await asyncio.to_thread(lambda: (self._heads.latest(), self._heads.witnessed()))
        return pool_pb2.GetCheckpointResponse(checkpoint=latest, witnessed=witnessed)

    async def AddCosignature(  # noqa: N802
        self,
        request: pool_pb2.AddCosignatureRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pool_pb2.AddCosignatureResponse:
        """Hand in a witness's cosignature."""
        await asyncio.to_thread(self._heads.add, request.checkpoint)
        return pool_pb2.AddCosignatureResponse()

    async def GetEntries(  # noqa: N802
        self,
        request: pool_pb2.GetEntriesRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pool_pb2.GetEntriesResponse:
        """Leaves from a place on."""
        leaves = await asyncio.to_thread(self._log.entries, request.start, request.count)
        return pool_pb2.GetEntriesResponse(leaves=leaves)

    async def GetTile(  # noqa: N802
        self,
        request: pool_pb2.GetTileRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[pool_pb2.GetTileResponse]:
        """A file of the log's static copy, in chunks."""
        raw = await asyncio.to_thread(self._log.tile, request.path)
        for start in range(0, len(raw), LIMITS.chunk_bytes):
            yield pool_pb2.GetTileResponse(chunk=raw[start : start + LIMITS.chunk_bytes])

    async def GetConsistency(  # noqa: N802
        self,
        request: pool_pb2.GetConsistencyRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pool_pb2.GetConsistencyResponse:
        """Proof that a later tree extends an earlier one."""
        hashes = await asyncio.to_thread(self._log.consistency, request.old_size, request.new_size)
        return pool_pb2.GetConsistencyResponse(hashes=hashes)
