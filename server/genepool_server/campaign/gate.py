"""The campaign's gate: the only way from the network to a SuperLink, and it leads to Flower's Fleet API alone.

Flower's Fleet API asks for the signature of a registered node; its Control and Runtime APIs have no log-in, and for who
comes through here they do not exist.
"""

import socket
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from genepool_protocol.wire.errors import InvalidInput, Unavailable
from genepool_server.net import Address, check_free

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PASSED: Final = frozenset(
    {
        *("activate-node", "deactivate-node", "send-node-heartbeat"),
        *("pull-messages", "push-messages", "confirm-message-received"),
        *("get-run", "get-fab", "push-object", "pull-object"),
    }
)
"""Operations of nodes that the pool has registered; none can register itself."""

MAX_BODY: Final = 64 << 10
"""Bytes of one request: invitations and receipts are small."""

_PLACES: Final = 512  # connections at the same time
_PATIENCE: Final = 60.0  # seconds for an answer of the SuperLink
_START: Final = 20.0  # seconds
_HOPS: Final = frozenset({"host", "content-length", "connection", "transfer-encoding"})


class FleetGate:
    """Listens for nodes, over TLS, in a thread of this process.

    Args:
        listen: where; port 0 takes a free one.
        superlink: HOST:PORT of the SuperLink.
        ca: PEM file of the CA that vouches for both.
        key: PEM file of the TLS key.
        chain: PEM file of its certificate.

    Raises:
        Unavailable: PORT_IN_USE.
        InvalidInput: OPTION_INVALID, nobody can listen there.
    """

    def __init__(self, listen: Address, superlink: str, *, ca: Path, key: Path, chain: Path) -> None:
        import uvicorn

        if listen.port:
            check_free(listen)
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        try:
            self._socket = socket.create_server((listen.bare_host, listen.port), family=family)
        except OSError as exc:
            raise InvalidInput(
                "OPTION_INVALID", f"the gate cannot listen at {listen}: {exc.strerror}", "choose another with --listen"
            ) from exc
        self.bound = Address(listen.host, int(self._socket.getsockname()[1]))
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(superlink, ca),
                ssl_keyfile=str(key),
                ssl_certfile=str(chain),
                log_config=None,
                access_log=False,
                limit_concurrency=_PLACES,
                timeout_graceful_shutdown=2,
                server_header=False,
                ws="none",
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="campaign-gate", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _START
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable("CAMPAIGN_FAILED", f"the gate at {self.bound} did not start", "see the log")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


def application(superlink: str, ca: Path, transport: Any = None) -> Any:
    """The ASGI application: passes `POST /v1/fleet/{op}` on, and answers 404 to everything else.

    Args:
        superlink: HOST:PORT.
        ca: PEM file of the CA that vouches for it.
        transport: httpx's, for tests.
    """
    import httpx
    from starlette.applications import Starlette
    from starlette.routing import Route

    trusted = ssl.create_default_context(cafile=ca)
    client = httpx.AsyncClient(
        base_url=f"https://{superlink}", verify=trusted, timeout=_PATIENCE, trust_env=False, transport=transport
    )

    async def fleet(request: "Request") -> "Response":
        return await _pass_on(request, client)

    return Starlette(routes=[Route("/v1/fleet/{op}", fleet, methods=["POST"])])


async def _pass_on(request: "Request", client: Any) -> "Response":
    import httpx
    from starlette.responses import Response

    if request.path_params["op"] not in PASSED:
        return Response(status_code=404)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return Response(status_code=413)
    try:
        response = await client.post(request.url.path, headers=_ends(request.headers.items()), content=bytes(body))
    except httpx.TransportError:
        return Response(status_code=502)
    return Response(response.content, response.status_code, headers=dict(_ends(response.headers.items())))


def _ends(headers: Any) -> list[tuple[str, str]]:
    """The headers that are meant for the other end."""
    return [(name, value) for name, value in headers if name.lower() not in _HOPS]
