"""The operator of a simulated pool: over the server's own socket, from this process.

Every word used to be a command in a process of its own, three seconds of computing each: with a hundred sites ten
minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import grpc

from genepool_client.transport.durable import write_json
from genepool_client.transport.upload import state_name
from genepool_protocol.machine import operator_door
from genepool_protocol.trust.anchors import Invite, read_anchors
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1.operator_pb2_grpc import OperatorServiceStub
from genepool_protocol.wire.errors import Unavailable
from genepool_protocol.wire.status import from_rpc_error

_TIMEOUT: Final = 60.0  # seconds of one call


@dataclass(frozen=True, slots=True)
class ListedContribution:
    """What the operator's list says of a contribution; `note` is why it waits, or was not taken in."""

    contribution_id: str
    site: str
    state: str
    note: str
    log_index: int

    @property
    def under_review(self) -> bool:
        """Whether the pool has said nothing of it yet."""
        return self.state == "QUARANTINED" and not self.note


class PoolOperator:
    """An operator's hand on a pool whose server runs on this machine.

    Args:
        folder: of the pool.

    Raises:
        Unavailable: POOL_UNREACHABLE, no server serves the folder.
    """

    def __init__(self, folder: Path) -> None:
        path = operator_door.running(folder)
        if path is None:
            raise Unavailable("POOL_UNREACHABLE", f"no server serves {folder}", f"see {folder.parent / 'pool.log'}")
        self._where = f"the socket of {folder}"
        self._anchors = folder / "pool.json"
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)])
        self._stub = OperatorServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def invite(self, site: str, file: Path, roles: Sequence[str] = (), *, again: bool = False) -> Path:
        """Write an invitation for a site.

        Args:
            site: its name.
            file: where the invitation goes.
            roles: none: those of every site.
            again: the site has lost its keys, which end now.

        Raises:
            GenepoolError: what the pool refuses.
        """
        given = self._call(self._stub.Invite, op.InviteRequest(site=site, roles=roles, again=again))
        invite = Invite(
            site=site,
            invite_id=given.invite_id,
            secret=given.secret,
            expires=given.expires,
            anchors=read_anchors(self._anchors),
        )
        write_json(file, invite.model_dump(by_alias=True), 0o600)
        return file

    def approve(self, site: str, fingerprint: str) -> None:
        """Let a site in that has read this fingerprint of its keys to the operator.

        Raises:
            GenepoolError: what the pool refuses.
        """
        request = op.ChangeSiteRequest(site=site, state=pb.SITE_STATE_ACTIVE, fingerprint=fingerprint)
        self._call(self._stub.ChangeSite, request)

    def contributions(self) -> list[ListedContribution]:
        """Every contribution, in the order of the log, without its evidence.

        Raises:
            GenepoolError: what went wrong on the socket.
        """
        try:
            listed = self._stub.ListContributions(op.ListContributionsRequest(brief=True), timeout=_TIMEOUT)
            rows = [response.contribution for response in listed]
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc
        return [
            ListedContribution(row.contribution_id, row.site, state_name(row.state), row.note, row.log_index)
            for row in rows
        ]

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=_TIMEOUT)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._where) from exc
