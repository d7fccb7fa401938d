"""What every request passes, and every response carries: the name of the server, the methods, and the headers.

A page of another site that has its own name point here (DNS rebinding) asks under that name, and gets nothing.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of pages: there is no script, no frame, and nothing from elsewhere."""

PICTURE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Of drawings, which carry their own styles and may do nothing at all."""

_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
    "vary": "Cookie",
    "connection": "close",  # so that a connection is worth one page
}


class HttpGuard:
    """Wraps an ASGI application.

    Args:
        app: what answers.
        hosts: names under which it may be asked, each as a browser writes it, with the port.
        secure: whether browsers reach it by TLS.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, secure: bool) -> None:
        self._app, self._hosts = app, frozenset(hosts)
        self._origins = {f"http{'s' if secure else ''}://{host}" for host in hosts}
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["method"])
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, headers: Headers, method: str) -> PlainTextResponse | None:
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return PlainTextResponse(
                "this server is not known by that name; its operator names it in dashboard.url\n", 421
            )
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return PlainTextResponse("pages are read here, and nothing else\n", 405)
        # a form of another site must not log anybody in or out
        foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if foreign or ("origin" in headers and headers["origin"].lower() not in self._origins):
            return PlainTextResponse("that form is not of this site\n", 403)
        return None
