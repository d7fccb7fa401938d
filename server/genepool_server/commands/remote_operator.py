"""The operator's hand on a pool whose server runs: the parts of `pool.OpenPool` that an operator uses, over its socket.

What each method does and raises is said at the method of the same name there; beside that, whatever goes wrong on the
socket.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self

import grpc

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.v1.operator_pb2_grpc import OperatorServiceStub
from genepool_protocol.v1.pool_pb2_grpc import LogServiceStub
from genepool_protocol.wire.access import DEFAULT_ROLES
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.front.services import messages
from genepool_server.pool.contributions.replies import WithdrawalReply
from genepool_server.pool.sites.membership import INVITE_LIFE, Invitation
from genepool_server.pool.upkeep.upkeep import BackedUp
from genepool_server.records import Contribution, Descended, Site

_TIMEOUT: Final = 60.0  # seconds of one call
_LIST: Final = 900.0  # seconds of a whole list
_LONG: Final = 24 * 3600.0  # seconds of one that reads all weights


class RemoteOperator:
    """The operator of a running server.

    Args:
        path: of its socket.
        folder: of its pool, for sentences.

    Attributes:
        sites: see `Registrar`.
        contributions: see `Contributions`.
        log: see `Log`.
        heads: see `Cosigned`.
        upkeep: see `Upkeep`.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)])
        self._socket = socket = _Socket(self._channel, f"the socket of {folder}")
        self.sites = _Sites(socket)
        self.contributions = _Contributions(socket)
        self.log = _Log(socket)
        self.heads = _Heads(socket)
        self.upkeep = _Upkeep(socket)

    def open_dashboard(self) -> tuple[str, int]:
        """A link that logs one browser in to the dashboard, once, and the seconds within which it must be opened.

        Raises:
            Refused: DASHBOARD_OFF.
        """
        response = self._socket.call(self._socket.operator.OpenDashboard, op.OpenDashboardRequest())
        return response.url, response.life_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


class _Socket:
    """Calls whose errors are ours."""

    def __init__(self, channel: grpc.Channel, where: str) -> None:
        self._where = where
        self.operator = OperatorServiceStub(channel)
        self.log = LogServiceStub(channel)

    def call(self, method: Any, request: Any, timeout: float = _TIMEOUT) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc

    def stream(self, method: Any, request: Any) -> Iterator[Any]:
        try:
            yield from method(request, timeout=_LIST)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc


class _Part:
    def __init__(self, socket: _Socket) -> None:
        self._socket = socket


class _Sites(_Part):
    def invite(
        self,
        site: str,
        now: datetime,  # noqa: ARG002 - the server has its own clock
        *,
        life: timedelta = INVITE_LIFE,
        roles: Sequence[str] = DEFAULT_ROLES,
        again: bool = False,
    ) -> Invitation:
        request = op.InviteRequest(site=site, life_seconds=int(life.total_seconds()), roles=roles, again=again)
        response = self._socket.call(self._socket.operator.Invite, request)
        return Invitation(response.invite_id, response.secret, response.expires)

    def all(self) -> list[Site]:
        return list(self.each())

    def each(self) -> Iterator[Site]:
        responses = self._socket.stream(self._socket.operator.ListSites, op.ListSitesRequest())
        return (messages.site_of(response.site) for response in responses)

    def approve(self, site: str, fingerprint: str = "") -> Site:
        return self._change(site, pb.SITE_STATE_ACTIVE, fingerprint)

    def suspend(self, site: str) -> Site:
        return self._change(site, pb.SITE_STATE_SUSPENDED)

    def revoke(self, site: str) -> Site:
        return self._change(site, pb.SITE_STATE_REVOKED)

    def _change(self, site: str, state: pb.SiteState.ValueType, fingerprint: str = "") -> Site:
        request = op.ChangeSiteRequest(site=site, state=state, fingerprint=fingerprint)
        return messages.site_of(self._socket.call(self._socket.operator.ChangeSite, request).site)


class _Contributions(_Part):
    def __init__(self, socket: _Socket) -> None:
        super().__init__(socket)
        self.descendants = _Descendants(socket)

    def all(self) -> list[Contribution]:
        return list(self.each())

    def each(self, prefix: str = "", *, brief: bool = False) -> Iterator[Contribution]:
        request = op.ListContributionsRequest(prefix=prefix, brief=brief)
        responses = self._socket.stream(self._socket.operator.ListContributions, request)
        return (messages.contribution_of(response.contribution) for response in responses)

    def decide(self, contribution_id: str, state: Literal["ACTIVE", "REJECTED"], note: str) -> Contribution:
        request = op.DecideContributionRequest(
            contribution_id=contribution_id, state=messages.contribution_state(state), note=note
        )
        response = self._socket.call(self._socket.operator.DecideContribution, request)
        return messages.contribution_of(response.contribution)

    def withdraw_as_operator(self, contribution_id: str, reason: str) -> WithdrawalReply:
        request = op.WithdrawContributionRequest(contribution_id=contribution_id, reason=reason)
        response = self._socket.call(self._socket.operator.WithdrawContribution, request)
        return WithdrawalReply(contribution_id, response.receipt, response.erased, response.descendant_count)


class _Descendants(_Part):
    def of(self, contribution_id: str) -> Iterator[Descended]:
        request = op.ListDescendantsRequest(contribution_id=contribution_id)
        responses = self._socket.stream(self._socket.operator.ListDescendants, request)
        return (messages.descendant_of(response.descendant) for response in responses)


class _Log(_Part):
    def entries(self, start: int, count: int) -> list[bytes]:
        request = pool_pb2.GetEntriesRequest(start=start, count=count)
        return list(self._socket.call(self._socket.log.GetEntries, request).leaves)

    def tile(self, path: str) -> bytes:
        responses = self._socket.stream(self._socket.log.GetTile, pool_pb2.GetTileRequest(path=path))
        return b"".join(response.chunk for response in responses)


class _Heads(_Part):
    def latest(self) -> str:
        return self._asked().checkpoint

    def witnessed(self) -> str:
        return self._asked().witnessed

    def _asked(self) -> pool_pb2.GetCheckpointResponse:
        response: pool_pb2.GetCheckpointResponse = self._socket.call(
            self._socket.log.GetCheckpoint, pool_pb2.GetCheckpointRequest()
        )
        return response


class _Upkeep(_Part):
    def seal(self, target: Path) -> tuple[int, int]:
        request = op.SealRequest(folder=str(target.absolute()))
        response = self._socket.call(self._socket.operator.Seal, request, timeout=_LONG)
        return response.sealed, response.total

    def backup(self, target: Path, keys: Path | None = None) -> BackedUp:
        request = op.BackupRequest(folder=str(target.absolute()), keys=str(keys.absolute()) if keys else "")
        response = self._socket.call(self._socket.operator.Backup, request, timeout=_LONG)
        return BackedUp(response.contributions, response.log_size)
