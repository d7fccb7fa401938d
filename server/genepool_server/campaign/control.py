"""Flower's Control API as a campaign needs it. What is private to flwr on the pool's side is used here alone."""

import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from genepool_protocol.machine.flower import check_version
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.campaign import fab

_POLL: Final = 0.2  # seconds
_UNREGISTERED: Final = "unregistered"
_FINISHED: Final = "finished"
_Answer = TypeVar("_Answer")


class Control:
    """The hand on one SuperLink.

    Args:
        address: HOST:PORT, on loopback.
        ca_pem: of the CA that vouches for it.

    Raises:
        VersionMismatch: API_VERSION, this flwr was not verified.
    """

    def __init__(self, address: str, ca_pem: bytes) -> None:
        check_version("campaigns", "server")
        from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
        from flwr.supercore.control import ControlHttpClient
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

        said: list[Any] = [CliClientHttpInterceptor(), RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
        self._client = ControlHttpClient.from_server_address(address, False, ca_pem, said)

    def wait(self, seconds: float, alive: Callable[[], bool]) -> None:
        """Wait until the SuperLink answers.

        Args:
            seconds: how long.
            alive: whether its process is there.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import ListNodesRequest

        deadline = time.monotonic() + seconds
        while True:
            try:
                self._client.ListNodes(ListNodesRequest())
            except httpx.HTTPError as exc:
                if not alive() or time.monotonic() > deadline:
                    raise _failed("does not start", exc) from exc
                time.sleep(_POLL)
            else:
                return

    def register(self, site: str, key: VerifyingKey) -> int:
        """Register a site's node; answers Flower's number of it.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import RegisterNodeRequest
        from flwr.supercore.primitives.asymmetric import public_key_to_bytes

        public = load_der_public_key(key.spki)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise GenepoolError("INTERNAL", "a verifying key is no EC key")
        request = RegisterNodeRequest(public_key=public_key_to_bytes(public), name=site)
        return int(_asked(lambda: self._client.RegisterNode(request)).node_id)

    def unregister(self, node: int) -> None:
        """Take a node's registration back.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        _asked(lambda: self._client.UnregisterNode(UnregisterNodeRequest(node_id=node)))

    def nodes(self) -> dict[str, tuple[int, VerifyingKey]]:
        """Flower's number and the key of the node that is registered for each site.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import ListNodesRequest

        listed = _asked(lambda: self._client.ListNodes(ListNodesRequest())).nodes_info
        here = [node for node in listed if node.status != _UNREGISTERED]
        return {node.name: (int(node.node_id), VerifyingKey.from_pem(node.public_key)) for node in here}

    def end_runs(self) -> None:
        """End the runs of an earlier SuperLink, whose ServerApp has gone with it.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import ListRunsRequest, StopRunRequest

        runs = _asked(lambda: self._client.ListRuns(ListRunsRequest())).run_dict
        for number in [number for number, run in runs.items() if run.status.status != _FINISHED]:
            _asked(lambda number=number: self._client.StopRun(StopRunRequest(run_id=number)))  # type: ignore[misc]

    def start(self, bundle: bytes) -> int:
        """Start a run of an app bundle; answers Flower's number of it.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab

        sent = Fab(hash_str=fab.digest_of(bundle).removeprefix("sha256:"), content=bundle)
        response = _asked(lambda: self._client.StartRun(StartRunRequest(fab=sent)))
        if not response.HasField("run_id"):
            raise Unavailable("CAMPAIGN_FAILED", "Flower did not start the run", "see the SuperLink's log")
        return int(response.run_id)

    def state(self, run: int) -> str:
        """What Flower says of a run: `pending`, `running`, or `finished:` with how it ended.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        from flwr.proto.control_pb2 import ListRunsRequest

        status = _asked(lambda: self._client.ListRuns(ListRunsRequest(run_id=run))).run_dict[run].status
        return f"{status.status}:{status.sub_status}".rstrip(":")

    def account(self, run: int) -> str:
        """What the ServerApp of a run wrote so far; empty when Flower does not say."""
        from flwr.proto.control_pb2 import StreamLogsRequest

        try:
            answers = self._client.StreamLogs(StreamLogsRequest(run_id=run, after_timestamp=0.0))
            return next((str(answer.log_output) for answer in answers), "")
        except (httpx.HTTPError, ValueError):
            return ""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked(call: Callable[[], _Answer]) -> _Answer:
    try:
        return call()
    except httpx.HTTPError as exc:
        raise _failed("does not do what it is asked", exc) from exc


def _failed(what: str, exc: Any) -> Unavailable:
    detail = exc.response.text[:200] if isinstance(exc, httpx.HTTPStatusError) else str(exc)
    return Unavailable("CAMPAIGN_FAILED", f"the SuperLink {what}: {detail}", "see its log in the campaign's folder")
