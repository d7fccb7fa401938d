"""EnrolmentService: how a site's key becomes known to the pool."""

import asyncio
from typing import Any

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import contribute_pb2_grpc
from genepool_server.front.states import site_state
from genepool_server.pool.pool import Pool


class EnrolmentServicer(contribute_pb2_grpc.EnrolmentServiceServicer):
    """See contribute.proto. Raises our errors; the front's interceptor puts them on the wire."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def Enrol(  # noqa: N802
        self,
        request: pb.EnrolRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.EnrolResponse:
        """Register a site's signing key under an invitation."""
        site = await asyncio.to_thread(
            self._pool.enrol, request.site, request.invite_id, request.signing_key_pem, request.mac
        )
        return pb.EnrolResponse(state=site_state(site.state), keyid=site.keyid)

    async def GetEnrolment(  # noqa: N802
        self,
        request: pb.GetEnrolmentRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.GetEnrolmentResponse:
        """The state of a site."""
        site = await asyncio.to_thread(self._pool.site, request.site)
        return pb.GetEnrolmentResponse(state=site_state(site.state), keyid=site.keyid)
