"""The dashboard of a server: off, or on a port of its own, with a thread for its loop and one for its pages."""

import asyncio
import contextlib
import ipaddress
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from genepool_console.page_place import listening, place
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_server.dashboard.day_counts import DayCounts
from genepool_server.dashboard.logins import LINK_SECONDS, Logins
from genepool_server.front.guards.calls import Call

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from genepool_server.observing.collector import StateCollector
    from genepool_server.pool.pool import OpenPool

_log: Final = logging.getLogger(__name__)

_WHAT: Final = "the dashboard"
_CONNECTIONS: Final = 32
"""At the same time; one more is cut off."""

_SECONDS: Final = 20.0
"""That a connection may last, whatever is said on it: it is worth one page."""

_JOIN: Final = 5.0
_DESCEND: Final = "/genepool.v1.DescendService/Descend"


class Dashboard:
    """Takes its port at once, so that nobody else can have it, and answers from `show` to `close`.

    Args:
        listen: see `page_place`; empty: there is none.
        url: https://HOST[:PORT] by which browsers come through a proxy with TLS; empty: they come straight to `listen`.

    Raises:
        InvalidInput: OPTION_INVALID; DEPENDENCY_MISSING.
        Unavailable: PORT_IN_USE.
    """

    def __init__(self, listen: str, url: str = "") -> None:
        self._logins = Logins()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._descents = DayCounts()
        self._undo = contextlib.ExitStack()
        self.address = ""
        if not listen:
            return
        _require()
        self._host, port = place(listen, _WHAT)
        self._socket = listening(self._host, port, _WHAT)
        self._undo.callback(self._socket.close)
        self._port = int(self._socket.getsockname()[1])
        self.address = f"{self._host}:{self._port}"
        self._url = url.rstrip("/")

    @property
    def url(self) -> str:
        """Where a browser finds it; empty when it is off."""
        return (self._url or f"http://{self.address}") if self.address else ""

    def link(self) -> tuple[str, int]:
        """An address that logs one browser in, once, and the seconds within which it must be opened.

        Raises:
            Refused: DASHBOARD_OFF, there is none, or none that a log-in could be entrusted to.
        """
        if not self.address:
            fix = "start it with --dashboard PORT, or set dashboard.listen in genepool.toml"
            raise Refused("DASHBOARD_OFF", "this server shows no dashboard", fix)
        if not self._url and not _is_loopback(self._host):
            raise Refused(
                "DASHBOARD_OFF",
                f"the dashboard at {self.address} is for other machines, and without TLS nobody is logged in",
                "put a proxy with TLS before it and set dashboard.url to its https address, or listen on loopback",
            )
        return f"{self.url}/login/{self._logins.link()}", LINK_SECONDS

    def called(self, call: Call) -> None:
        """Hear of a call that is over."""
        if call.method == _DESCEND and call.code == "OK":
            self._descents.count(datetime.now(UTC).date())

    def show(self, pool: "OpenPool", make: "Callable[[], StateCollector]") -> None:
        """Answer from now on; nothing when it is off.

        Args:
            pool: what the pages are about.
            make: makes what reads the state of event loop and disk.
        """
        if not self.address:
            return
        from genepool_server.dashboard.desk import Desk
        from genepool_server.dashboard.page_thread import PageThread
        from genepool_server.dashboard.pages import Pages
        from genepool_server.dashboard.planes import Planes
        from genepool_server.tls.identity import utc_now

        planes, thread, secure = Planes(), PageThread(), bool(self._url)
        self._undo.callback(planes.close)
        self._undo.callback(thread.close)
        desk = Desk(pool, make().standing, planes.of, self._descents, utc_now)
        pages = Pages(desk, thread, self._logins, secure=secure)
        self._server = _uvicorn(pages.application(), self._hosts(), secure=secure)
        self._thread = threading.Thread(target=self._serve, name="genepool-dashboard", daemon=True)
        self._thread.start()
        _log.info("the dashboard is at %s", self.url)

    def close(self) -> None:
        """End; a second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_JOIN)
            self._server = self._thread = None
        self._undo.close()

    def _serve(self) -> None:
        assert self._server is not None  # noqa: S101 - `show` has set it
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        except Exception:  # noqa: BLE001 - whatever it is, it ends the dashboard and not the server
            _log.exception("the dashboard has ended; the pool goes on")

    def _hosts(self) -> set[str]:
        hosts = {self._host}
        if _is_loopback(self._host):
            hosts |= {"127.0.0.1", "localhost", "[::1]"}
        names = {f"{host}:{self._port}" for host in hosts} | (hosts if self._port == 80 else set())
        return {name.lower() for name in names} | ({urlsplit(self._url).netloc.lower()} if self._url else set())


def _uvicorn(application: "ASGIApp", hosts: set[str], *, secure: bool) -> "uvicorn.Server":
    import uvicorn

    from genepool_server.dashboard.guard import HttpGuard

    return uvicorn.Server(
        uvicorn.Config(
            HttpGuard(application, hosts, secure=secure),
            http=_bounded(),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def _bounded() -> Any:
    """HTTP on connections that are few, and that end."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > _CONNECTIONS:
                transport.abort()
            else:
                self.loop.call_later(_SECONDS, transport.abort)

    return Bounded


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _require() -> None:
    for package in ("jinja2", "matplotlib", "starlette", "uvicorn"):
        if find_spec(package) is None:
            raise InvalidInput("DEPENDENCY_MISSING", f"the dashboard needs {package}", "install genepool[server]")
