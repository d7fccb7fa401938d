"""OperatorService: what an operator does while the server runs. Only ever served on a private Unix socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1 import operator_pb2_grpc
from genepool_protocol.wire.access import DEFAULT_ROLES
from genepool_protocol.wire.errors import Refused
from genepool_server.front.guards.calls import note
from genepool_server.front.services import messages
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.rows.pages import PAGE
from genepool_server.pool.sites.membership import INVITE_LIFE
from genepool_server.records import Site

_Row = TypeVar("_Row")

_DECISIONS: Final[dict[int, Literal["ACTIVE", "REJECTED"]]] = {
    pb.CONTRIBUTION_STATE_ACTIVE: "ACTIVE",
    pb.CONTRIBUTION_STATE_REJECTED: "REJECTED",
}


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    """See operator.proto. Raises our errors; the interceptor puts them on the wire.

    Args:
        pool: the pool.
        now: the clock.
        link: makes a log-in link for the dashboard, and says for how many seconds it can be used.
    """

    def __init__(self, pool: OpenPool, now: Callable[[], datetime], link: Callable[[], tuple[str, int]]) -> None:
        self._pool = pool
        self._now = now
        self._link = link

    async def Invite(  # noqa: N802
        self,
        request: op.InviteRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.InviteResponse:
        """A fresh invitation."""
        life = timedelta(seconds=request.life_seconds) if request.life_seconds else INVITE_LIFE
        roles = tuple(request.roles) or DEFAULT_ROLES
        invitation = await asyncio.to_thread(
            self._pool.sites.invite, request.site, self._now(), life=life, roles=roles, again=request.again
        )
        return op.InviteResponse(invite_id=invitation.invite_id, secret=invitation.secret, expires=invitation.expires)

    async def ListSites(  # noqa: N802
        self,
        request: op.ListSitesRequest,  # noqa: ARG002 - the interface
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[op.ListSitesResponse]:
        """Every site, by name."""
        async for site in _threaded(self._pool.sites.each()):
            yield op.ListSitesResponse(site=messages.site_message(site))

    async def ChangeSite(  # noqa: N802
        self,
        request: op.ChangeSiteRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.ChangeSiteResponse:
        """Approve, suspend or revoke."""
        changes: dict[int, Callable[[str], Site]] = {
            pb.SITE_STATE_ACTIVE: partial(self._pool.sites.approve, fingerprint=request.fingerprint),
            pb.SITE_STATE_SUSPENDED: self._pool.sites.suspend,
            pb.SITE_STATE_REVOKED: self._pool.sites.revoke,
        }
        if request.state not in changes:
            raise _no_such_change()
        site = await asyncio.to_thread(changes[request.state], request.site)
        note(digest=site.keyid, state=site.state, site=site.name)
        return op.ChangeSiteResponse(site=messages.site_message(site))

    async def ListContributions(  # noqa: N802
        self,
        request: op.ListContributionsRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[op.ListContributionsResponse]:
        """Every contribution, in the order of the log."""
        async for contribution in _threaded(self._pool.contributions.each(request.prefix, brief=request.brief)):
            yield op.ListContributionsResponse(contribution=messages.contribution_message(contribution))

    async def DecideContribution(  # noqa: N802
        self,
        request: op.DecideContributionRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.DecideContributionResponse:
        """Admit or reject."""
        decision = _DECISIONS.get(request.state)
        if decision is None:
            raise _no_such_change()
        contribution = await asyncio.to_thread(
            self._pool.contributions.decide, request.contribution_id, decision, request.note
        )
        note(digest=contribution.sha256, size=contribution.size_bytes, state=contribution.state)
        return op.DecideContributionResponse(contribution=messages.contribution_message(contribution))

    async def WithdrawContribution(  # noqa: N802
        self,
        request: op.WithdrawContributionRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.WithdrawContributionResponse:
        """Withdraw by the operator's word."""
        withdrawn = await asyncio.to_thread(
            self._pool.contributions.withdraw_as_operator, request.contribution_id, request.reason
        )
        note(digest=withdrawn.contribution_id, state="WITHDRAWN")
        return op.WithdrawContributionResponse(
            receipt=withdrawn.receipt, erased=withdrawn.erased, descendant_count=withdrawn.descendants
        )

    async def Seal(  # noqa: N802
        self,
        request: op.SealRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.SealResponse:
        """Write sealed copies of all weights."""
        sealed, total = await asyncio.to_thread(self._pool.upkeep.seal, Path(request.folder))
        return op.SealResponse(sealed=sealed, total=total)

    async def Backup(  # noqa: N802
        self,
        request: op.BackupRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.BackupResponse:
        """Write a backup."""
        keys = Path(request.keys) if request.keys else None
        summary = await asyncio.to_thread(self._pool.upkeep.backup, Path(request.folder), keys)
        return op.BackupResponse(contributions=summary.contributions, log_size=summary.log_size)

    async def ListDescendants(  # noqa: N802
        self,
        request: op.ListDescendantsRequest,
        context: Any,  # noqa: ARG002 - the interface
    ) -> AsyncIterator[op.ListDescendantsResponse]:
        """Descendants of a contribution."""
        async for descended in _threaded(self._pool.contributions.descendants.of(request.contribution_id)):
            yield op.ListDescendantsResponse(descendant=messages.descendant_message(descended))

    async def OpenDashboard(  # noqa: N802
        self,
        request: op.OpenDashboardRequest,  # noqa: ARG002 - the interface
        context: Any,  # noqa: ARG002 - the interface
    ) -> op.OpenDashboardResponse:
        """A link that logs one browser in to the dashboard, once."""
        url, seconds = self._link()
        return op.OpenDashboardResponse(url=url, life_seconds=seconds)


async def _threaded(rows: Iterator[_Row]) -> AsyncIterator[_Row]:
    """Rows of the ledger, a batch of them for each step on a thread: what is read is what can be sent."""
    while batch := await asyncio.to_thread(lambda: list(islice(rows, PAGE))):
        for row in batch:
            yield row


def _no_such_change() -> Refused:
    return Refused("STATE_TRANSITION", "an operator cannot bring about that state", "see genepool-server --help")
