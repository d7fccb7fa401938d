"""EnrolmentService: how a site's keys become known to the pool, and how they are replaced."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from genepool_protocol.trust.enrolment import Application, fingerprint
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import contribute_pb2_grpc
from genepool_server.front.guards.callers import Callers
from genepool_server.front.guards.calls import note
from genepool_server.front.services.messages import site_state
from genepool_server.pool.sites.registrar import Registrar
from genepool_server.pool.sites.site_keys import Issue


class EnrolmentServicer(contribute_pb2_grpc.EnrolmentServiceServicer):
    """See contribute.proto. Raises our errors; the front's interceptor puts them on the wire.

    Args:
        sites: who may contribute.
        callers: tells who calls.
        channel: SHA-256 of the key of the CA that clients pin.
        issue: makes certificates.
        now: the clock.
    """

    def __init__(
        self, sites: Registrar, callers: Callers, channel: bytes, issue: Issue, now: Callable[[], datetime]
    ) -> None:
        self._sites = sites
        self._callers = callers
        self._channel = channel
        self._issue = issue
        self._now = now

    async def Enrol(  # noqa: N802
        self,
        request: pb.EnrolRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.EnrolResponse:
        """Register a site's keys under an invitation."""
        application = Application(request.site, request.invite_id, request.tls_csr, request.signing_csr)
        site = await asyncio.to_thread(self._sites.enrol, application, request.mac, self._channel, self._now())
        note(digest=site.keyid, size=len(request.tls_csr) + len(request.signing_csr), state=site.state, site=site.name)
        return pb.EnrolResponse(state=site_state(site.state), keyid=site.keyid, fingerprint=site.fingerprint)

    async def GetEnrolment(  # noqa: N802
        self,
        request: pb.GetEnrolmentRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> pb.GetEnrolmentResponse:
        """The state of a site, and its certificate."""
        site, certificate = await asyncio.to_thread(
            self._sites.certificate, request.site, request.tls_keyid, self._issue, self._now()
        )
        return pb.GetEnrolmentResponse(
            state=site_state(site.state),
            keyid=site.keyid,
            fingerprint=fingerprint(request.tls_keyid, site.keyid) if site.keyid else "",
            certificate_pem=certificate,
            roles=site.roles,
        )

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:  # noqa: N802
        """A certificate for the next TLS key."""
        site = self._callers(context).site
        pem = await asyncio.to_thread(self._sites.renew, site, request.tls_csr, self._issue, self._now())
        note(size=len(request.tls_csr), state="RENEWED")
        return pb.RenewResponse(certificate_pem=pem)

    async def RotateSigningKey(  # noqa: N802
        self, request: pb.RotateSigningKeyRequest, context: Any
    ) -> pb.RotateSigningKeyResponse:
        """The next signing key."""
        site = self._callers(context).site
        keyid, ends = await asyncio.to_thread(self._sites.rotate, site, request.by_old, request.by_new, self._now())
        note(digest=keyid, size=len(request.by_old) + len(request.by_new), state="REPLACED")
        return pb.RotateSigningKeyResponse(keyid=keyid, old_ends=ends)
