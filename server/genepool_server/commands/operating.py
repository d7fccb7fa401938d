"""Operating a pool, whether its server runs or not: through the operator's socket, or by opening the pool here.

Either way there is one writer, and the same code decides.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

import grpc

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.v1.operator_pb2_grpc import OperatorServiceStub
from genepool_protocol.v1.pool_pb2_grpc import LogServiceStub
from genepool_protocol.wire.access import DEFAULT_ROLES
from genepool_protocol.wire.errors import InvalidInput, NotFound, Unavailable
from genepool_protocol.wire.status import from_rpc_error
from genepool_server import config
from genepool_server.front import operator_socket
from genepool_server.front.services import messages
from genepool_server.pool.contributions.replies import WithdrawalReply
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.sites.membership import INVITE_LIFE, Invitation
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.upkeep.backup import BackedUp
from genepool_server.records import Contribution, Descended, Site

_ID: Final = re.compile(r"[0-9a-f]{1,64}")
_TIMEOUT: Final = 60.0  # seconds of one call
_LIST: Final = 900.0  # seconds of a whole list
_LONG: Final = 24 * 3600.0  # seconds of one that reads all weights
_PATIENCE: Final = 5.0  # seconds that another command may have the folder open


class Operator(Protocol):
    """What can be done to a pool; see `pool.Pool`, which is one, for the meaning and the errors of each."""

    def invite(
        self,
        site: str,
        now: datetime,
        *,
        life: timedelta = INVITE_LIFE,
        roles: Sequence[str] = DEFAULT_ROLES,
        again: bool = False,
    ) -> Invitation:
        """A fresh invitation."""
        ...

    def each_site(self) -> Iterator[Site]:
        """Every site."""
        ...

    def approve(self, site: str, fingerprint: str = "") -> Site:
        """Let a site in."""
        ...

    def suspend(self, site: str) -> Site:
        """Stop a site for a while."""
        ...

    def revoke(self, site: str) -> Site:
        """Stop a site for ever."""
        ...

    def each_contribution(self, prefix: str = "", *, brief: bool = False) -> Iterator[Contribution]:
        """Every contribution whose id starts so."""
        ...

    def decide(self, contribution_id: str, state: Literal["ACTIVE", "REJECTED"], note: str) -> Contribution:
        """Admit or reject."""
        ...

    def withdraw_as_operator(self, contribution_id: str, reason: str) -> WithdrawalReply:
        """End a contribution."""
        ...

    def seal(self, folder: Path) -> tuple[int, int]:
        """Write sealed copies of all weights."""
        ...

    def backup(self, folder: Path, keys: Path | None = None) -> BackedUp:
        """Write a backup."""
        ...

    def descendants(self, contribution_id: str) -> Iterator[Descended]:
        """What was made from a contribution."""
        ...

    def checkpoint(self) -> str:
        """The log's signed tree head."""
        ...

    def witnessed(self) -> str:
        """The latest tree head with a quorum of cosignatures."""
        ...

    def entries(self, start: int, count: int) -> Sequence[bytes]:
        """Leaves of the log."""
        ...

    def tile(self, path: str) -> bytes:
        """A file of the log's static copy."""
        ...


@contextmanager
def operate(folder: Path) -> Iterator[Operator]:
    """The operator's hand on the pool in a folder.

    Raises:
        NotFound: POOL_UNKNOWN.
        Unavailable: FOLDER_IN_USE, another process has had it open for seconds.
        GenepoolError: what `Pool.open` raises, or what went wrong on the socket.
    """
    config.load(folder)
    deadline = time.monotonic() + _PATIENCE
    while True:
        path = operator_socket.running(folder)
        try:
            entered = RemoteOperator(path, folder) if path else opened(folder)
        except Unavailable as exc:
            # another command is at work, or a server is about to open its socket
            if exc.reason != "FOLDER_IN_USE" or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        with entered as operator:
            yield operator
        return


def opened(folder: Path) -> OpenPool:
    """The pool in a folder, by its settings, with the keys and witnesses that its trust root names.

    Raises:
        NotFound: POOL_UNKNOWN.
        GenepoolError: as `settling.settle` and `Pool.open`.
    """
    from genepool_server.root import settling  # TUF's modules take time to load

    settings = config.load(folder)
    witnesses = settling.settle(PoolFolder(folder)).policy
    return OpenPool.open(folder, settings.storage, automatic=settings.reviews.at_once, witnesses=witnesses)


class RemoteOperator:
    """The operator of a running server.

    Args:
        path: of its socket.
        folder: of its pool, for sentences.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._where = f"the socket of {folder}"
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)])
        self._operator = OperatorServiceStub(self._channel)
        self._log = LogServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def invite(
        self,
        site: str,
        now: datetime,  # noqa: ARG002 - the server has its own clock
        *,
        life: timedelta = INVITE_LIFE,
        roles: Sequence[str] = DEFAULT_ROLES,
        again: bool = False,
    ) -> Invitation:
        """See `Operator`."""
        request = op.InviteRequest(site=site, life_seconds=int(life.total_seconds()), roles=roles, again=again)
        response = self._call(self._operator.Invite, request)
        return Invitation(response.invite_id, response.secret, response.expires)

    def sites(self) -> list[Site]:
        """All at once."""
        return list(self.each_site())

    def each_site(self) -> Iterator[Site]:
        """See `Operator`."""
        return (
            messages.site_of(response.site)
            for response in self._stream(self._operator.ListSites, op.ListSitesRequest())
        )

    def approve(self, site: str, fingerprint: str = "") -> Site:
        """See `Operator`."""
        return self._change(site, pb.SITE_STATE_ACTIVE, fingerprint)

    def suspend(self, site: str) -> Site:
        """See `Operator`."""
        return self._change(site, pb.SITE_STATE_SUSPENDED)

    def revoke(self, site: str) -> Site:
        """See `Operator`."""
        return self._change(site, pb.SITE_STATE_REVOKED)

    def contributions(self) -> list[Contribution]:
        """All at once."""
        return list(self.each_contribution())

    def each_contribution(self, prefix: str = "", *, brief: bool = False) -> Iterator[Contribution]:
        """See `Operator`."""
        request = op.ListContributionsRequest(prefix=prefix, brief=brief)
        responses = self._stream(self._operator.ListContributions, request)
        return (messages.contribution_of(response.contribution) for response in responses)

    def decide(self, contribution_id: str, state: Literal["ACTIVE", "REJECTED"], note: str) -> Contribution:
        """See `Operator`."""
        request = op.DecideContributionRequest(
            contribution_id=contribution_id, state=messages.contribution_state(state), note=note
        )
        return messages.contribution_of(self._call(self._operator.DecideContribution, request).contribution)

    def withdraw_as_operator(self, contribution_id: str, reason: str) -> WithdrawalReply:
        """See `Operator`."""
        request = op.WithdrawContributionRequest(contribution_id=contribution_id, reason=reason)
        response = self._call(self._operator.WithdrawContribution, request)
        return WithdrawalReply(contribution_id, response.receipt, response.erased, response.descendant_count)

    def seal(self, folder: Path) -> tuple[int, int]:
        """See `Operator`."""
        response = self._call(self._operator.Seal, op.SealRequest(folder=str(folder.absolute())), timeout=_LONG)
        return response.sealed, response.total

    def backup(self, folder: Path, keys: Path | None = None) -> BackedUp:
        """See `Operator`."""
        request = op.BackupRequest(folder=str(folder.absolute()), keys=str(keys.absolute()) if keys else "")
        response = self._call(self._operator.Backup, request, timeout=_LONG)
        return BackedUp(response.contributions, response.log_size)

    def descendants(self, contribution_id: str) -> Iterator[Descended]:
        """See `Operator`."""
        request = op.ListDescendantsRequest(contribution_id=contribution_id)
        return (
            messages.descendant_of(response.descendant)
            for response in self._stream(self._operator.ListDescendants, request)
        )

    def checkpoint(self) -> str:
        """See `Operator`."""
        response: pool_pb2.GetCheckpointResponse = self._call(self._log.GetCheckpoint, pool_pb2.GetCheckpointRequest())
        return response.checkpoint

    def witnessed(self) -> str:
        """See `Operator`."""
        response: pool_pb2.GetCheckpointResponse = self._call(self._log.GetCheckpoint, pool_pb2.GetCheckpointRequest())
        return response.witnessed

    def entries(self, start: int, count: int) -> list[bytes]:
        """See `Operator`."""
        return list(self._call(self._log.GetEntries, pool_pb2.GetEntriesRequest(start=start, count=count)).leaves)

    def tile(self, path: str) -> bytes:
        """See `Operator`."""
        return b"".join(
            response.chunk for response in self._stream(self._log.GetTile, pool_pb2.GetTileRequest(path=path))
        )

    def _change(self, site: str, state: pb.SiteState.ValueType, fingerprint: str = "") -> Site:
        request = op.ChangeSiteRequest(site=site, state=state, fingerprint=fingerprint)
        return messages.site_of(self._call(self._operator.ChangeSite, request).site)

    def _call(self, method: Any, request: Any, timeout: float = _TIMEOUT) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc

    def _stream(self, method: Any, request: Any) -> Iterator[Any]:
        try:
            yield from method(request, timeout=_LIST)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc


def resolve(operator: Operator, prefix: str) -> Contribution:
    """The one contribution whose id starts so.

    Raises:
        NotFound: CONTRIBUTION_UNKNOWN.
        InvalidInput: OPTION_INVALID, several do.
    """
    whole = _ID.fullmatch(prefix.lower())
    matches = list(operator.each_contribution(prefix.lower())) if whole else []
    if not matches:
        raise NotFound(
            "CONTRIBUTION_UNKNOWN",
            f"the pool holds no contribution {prefix[:64]!r}",
            "list them with genepool-server contributions",
        )
    if len(matches) > 1:
        raise InvalidInput(
            "OPTION_INVALID", f"{len(matches)} contributions start with {prefix!r}", "give more characters of the id"
        )
    return matches[0]
