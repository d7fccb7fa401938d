"""PoolService: what the pool is, and its blueprints."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import genepool_protocol
from genepool_protocol.v1 import pool_pb2, pool_pb2_grpc
from genepool_protocol.wire.errors import StorageError, VersionMismatch
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import API_VERSION
from genepool_server.front.guards.arrivals import ARRIVALS
from genepool_server.records import LoadedBlueprint
from genepool_server.serving.pool_view import PoolView

_ROOM = 64 << 10
"""Bytes of a message of pixels that are something else."""


class PoolServicer(pool_pb2_grpc.PoolServiceServicer):
    """See pool.proto. Raises our errors; the front's interceptor puts them on the wire.

    Args:
        view: the pool's read side.
        origin: the pool's name.
        certified: where clients show a certificate: a port, and a name of the server for who came by the entrance.
    """

    def __init__(self, view: PoolView, origin: str, certified: tuple[int, str]) -> None:
        self._certified = certified
        self._view = view
        self._origin = origin

    async def GetCapabilities(  # noqa: N802
        self,
        request: pool_pb2.GetCapabilitiesRequest,
        context: Any,
    ) -> pool_pb2.GetCapabilitiesResponse:
        """Versions, limits and blueprints."""
        if request.api_version != API_VERSION:
            raise VersionMismatch(
                "API_VERSION",
                f"this pool speaks API {API_VERSION}, the client another version",
                f"install genepool {genepool_protocol.__version__} or one that speaks API {API_VERSION}",
                low=API_VERSION,
                high=API_VERSION,
            )
        return await asyncio.to_thread(self._capabilities, led=ARRIVALS.led(context))

    async def GetBlueprint(  # noqa: N802
        self,
        request: pool_pb2.GetBlueprintRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[pool_pb2.GetBlueprintResponse]:
        """The blueprint's canonical JSON, then the seed's file in chunks."""
        loaded = self._view.blueprint(request.name)
        yield pool_pb2.GetBlueprintResponse(blueprint_json=loaded.blueprint.canonical())
        with await asyncio.to_thread(_open, loaded.seed_path) as seed:
            while chunk := await asyncio.to_thread(seed.read, LIMITS.chunk_bytes):
                yield pool_pb2.GetBlueprintResponse(seed_chunk=chunk)

    def _capabilities(self, *, led: bool) -> pool_pb2.GetCapabilitiesResponse:
        blueprints, (port, name) = self._view.blueprints(), self._certified
        return pool_pb2.GetCapabilitiesResponse(
            low_api_version=API_VERSION,
            high_api_version=API_VERSION,
            software_version=genepool_protocol.__version__,
            origin=self._origin,
            blueprints=[
                pool_pb2.BlueprintInfo(name=loaded.blueprint.name, sha256=loaded.blueprint.sha256)
                for loaded in blueprints
            ],
            max_learngene_bytes=LIMITS.learngene_bytes,
            max_chunk_bytes=LIMITS.chunk_bytes,
            max_support_images=min((_support_images(loaded) for loaded in blueprints), default=LIMITS.support_images),
            active_contributions=sum(self._view.contributions.active_count(loaded.blueprint) for loaded in blueprints),
            certified_port=port,
            certified_name=name if led else "",
        )


def _support_images(loaded: LoadedBlueprint) -> int:
    """How many images of the blueprint fit into one message."""
    return min(LIMITS.support_images, (LIMITS.message_bytes - _ROOM) // (3 * loaded.blueprint.image**2))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise StorageError(
            "BLOB_CORRUPT", f"the pool's file {path.name} cannot be read", "the operator must restore it"
        ) from exc
