"""A page of numbers for Prometheus, on a listener of its own: whoever can reach the address can read it.

It answers `GET /metrics` and nothing else, few at a time, and ends a connection that says nothing.
"""

import http.server
import socket
import socketserver
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from genepool_console.page_place import listening, place
from genepool_protocol.wire.errors import InvalidInput

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_PATH: Final = "/metrics"
_WHAT: Final = "metrics"
_AT_ONCE: Final = 4
_SECONDS: Final = 5.0  # that a connection may say nothing
_LOOK: Final = 0.1  # seconds between two looks at whether it ends


class MetricsPage:
    """The page. It takes its port at once, and answers from `start` to `close`.

    Args:
        listen: see `page_place`; port 0 takes a free one.

    Raises:
        InvalidInput: OPTION_INVALID; DEPENDENCY_MISSING, prometheus_client is not installed.
        Unavailable: PORT_IN_USE.
    """

    def __init__(self, listen: str) -> None:
        host, port = place(listen, _WHAT)
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as exc:
            raise InvalidInput(
                "DEPENDENCY_MISSING", "metrics need prometheus_client", "install genepool[server] or genepool[site]"
            ) from exc
        self._registry = CollectorRegistry()
        self._server = _Server(listening(host, port, _WHAT), self)
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread: threading.Thread | None = None

    @property
    def registry(self) -> "CollectorRegistry":
        """Whose figures it shows."""
        return self._registry

    def show(self, registry: "CollectorRegistry") -> None:
        """Show the figures of that registry."""
        self._registry = registry

    def text(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def start(self) -> None:
        """Answer, on threads."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK,), name="genepool-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End; a second call does nothing."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, page: MetricsPage) -> None:
        self.page = page
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _SECONDS
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != _PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content, kind = self.server.page.text()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        return "genepool"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing: who asks for numbers is no event, and the request's text is a stranger's."""
