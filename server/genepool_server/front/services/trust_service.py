"""TrustService: the files of the trust root, for everybody."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from genepool_protocol.v1 import pool_pb2, pool_pb2_grpc
from genepool_protocol.wire.limits import LIMITS
from genepool_server.root.repository import Repository


class TrustServicer(pool_pb2_grpc.TrustServiceServicer):
    """See pool.proto. Raises our errors; the front's interceptor puts them on the wire."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def GetFile(  # noqa: N802
        self,
        request: pool_pb2.GetFileRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[pool_pb2.GetFileResponse]:
        """A file by its name, in chunks."""
        raw = await asyncio.to_thread(self._repository.read, request.name)
        for start in range(0, len(raw), LIMITS.chunk_bytes):
            yield pool_pb2.GetFileResponse(chunk=raw[start : start + LIMITS.chunk_bytes])
