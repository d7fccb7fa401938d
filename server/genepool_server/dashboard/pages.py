"""The pages by their addresses, each with the methods of the pool whose answers it shows: those say who may see it."""

import functools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from genepool_console.log_lines import facts
from genepool_protocol.wire.access import authorise
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, Refused, Unavailable
from genepool_server.dashboard import operator_pages, public_pages
from genepool_server.dashboard.desk import SVG, Content, Desk, PageRequest, style
from genepool_server.dashboard.guard import PICTURE_POLICY
from genepool_server.dashboard.logins import SESSION_SECONDS, Logins
from genepool_server.dashboard.page_thread import PageThread

_log: Final = logging.getLogger(__name__)

COOKIE: Final = "genepool-operator"

FRESH: Final = 5.0
"""Seconds for which a page that was made is shown again: asking often costs nothing."""

_PAGES: Final = 64
_STATUS: Final[dict[type[GenepoolError], int]] = {InvalidInput: 400, NotFound: 404, Refused: 403, Unavailable: 503}
_ABSENT: Final = ("LOG_RANGE", "POOL_EMPTY")
_OPERATOR: Final = frozenset({"operator"})

Make = Callable[[Desk, PageRequest], Content]


def _methods(service: str, *names: str) -> tuple[str, ...]:
    return tuple(f"/genepool.v1.{service}/{name}" for name in names)


_READING: Final = _methods("LogService", "GetCheckpoint", "GetEntries", "GetTile")
_SITES: Final = _methods("OperatorService", "ListSites", "ListContributions")
_CONTRIBUTIONS: Final = _methods("OperatorService", "ListContributions", "ListDescendants")

PAGES: Final[dict[str, tuple[Make, tuple[str, ...]]]] = {
    "/": (public_pages.overview, (*_methods("PoolService", "GetCapabilities"), *_READING)),
    "/log": (public_pages.log, _READING),
    "/log/{index}": (public_pages.entry, (*_READING, *_methods("DescendService", "CheckStatus"))),
    "/log/{index}/proof.json": (public_pages.proof_file, _READING),
    "/sites": (operator_pages.sites, _SITES),
    "/contributions": (operator_pages.contributions, _CONTRIBUTIONS),
    "/contributions/{id}": (operator_pages.contribution, _CONTRIBUTIONS),
    "/map": (operator_pages.embeddings, _CONTRIBUTIONS),
    "/map.svg": (operator_pages.map_drawing, _CONTRIBUTIONS),
    "/activity": (operator_pages.activity, _CONTRIBUTIONS),
    "/activity.svg": (operator_pages.activity_drawing, _CONTRIBUTIONS),
    "/health": (operator_pages.health, _SITES),
}
"""Address -> what makes the page, and the methods of the pool's services whose answers it shows."""


@dataclass(slots=True)
class _Made:
    """Pages that were made lately."""

    clock: Callable[[], float]
    pages: "OrderedDict[tuple[str, bool], tuple[float, Content]]"

    def get(self, key: tuple[str, bool]) -> Content | None:
        since, content = self.pages.get(key, (0.0, None))
        return content if content is not None and self.clock() - since < FRESH else None

    def put(self, key: tuple[str, bool], content: Content) -> None:
        self.pages[key] = self.clock(), content
        self.pages.move_to_end(key)
        while len(self.pages) > _PAGES:
            self.pages.popitem(last=False)


class Pages:
    """Answers requests that passed the guard. For one event loop.

    Args:
        desk: makes pages.
        thread: makes them, one after the other.
        logins: knows operators.
        secure: whether browsers come by TLS.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        desk: Desk,
        thread: PageThread,
        logins: Logins,
        *,
        secure: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._thread, self._logins, self._secure = desk, thread, logins, secure
        self._made = _Made(clock, OrderedDict())

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [Route(path, functools.partial(self._page, make, reads)) for path, (make, reads) in PAGES.items()]
        routes += [
            Route("/login/{secret}", self._ask, methods=["GET"]),
            Route("/login/{secret}", self._log_in, methods=["POST"]),
            Route("/logout", self._log_out, methods=["POST"]),
            Route("/dashboard.css", self._style),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._no_such_page})

    async def _page(self, make: Make, reads: tuple[str, ...], request: Request) -> Response:
        operator = self._logins.known(request.cookies.get(COOKIE, ""))
        asked = PageRequest(request.path_params, dict(request.query_params), operator)
        try:
            for method in reads:
                authorise(method, _OPERATOR if operator else frozenset(), certified=False)
            key = f"{request.url.path}?{request.url.query}", operator
            content = self._made.get(key)
            if content is None:
                content = await self._thread.make(functools.partial(make, self._desk, asked))
                self._made.put(key, content)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it ends one page and is logged
            return await self._failed(exc, asked)
        return _response(content)

    async def _failed(self, exc: Exception, asked: PageRequest) -> Response:
        status = next((code for kind, code in _STATUS.items() if isinstance(exc, kind)), 500)
        if isinstance(exc, GenepoolError) and exc.reason in _ABSENT:
            status = 404
        if not isinstance(exc, GenepoolError) or status == 500:
            _log.error("a page of the dashboard could not be made", exc_info=exc)
            sentence, fix = "this page could not be made", "the server's log says why"
        elif status == 403 and not asked.operator:
            sentence, fix = (
                "this page is for the pool's operator",
                "log in by a link: genepool-server dashboard link DIR",
            )
        else:
            sentence, fix = exc.message, exc.fix
        return self._message(asked, status, sentence, fix)

    def _message(self, asked: PageRequest, status: int, sentence: str, fix: str) -> Response:
        content = self._desk.page("message.html", asked, status=status, sentence=sentence, fix=fix)
        return _response(content, status)

    async def _no_such_page(self, request: Request, exc: Exception) -> Response:
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        asked = PageRequest(operator=self._logins.known(request.cookies.get(COOKIE, "")))
        return self._message(asked, status, "there is no such page", "choose one above")

    # -- logging in ----------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> Response:
        """A button: what looks at links before a person does, must not use them up."""
        if not self._logins.waits(request.path_params["secret"]):
            return self._spent()
        return _response(self._desk.page("login.html", PageRequest(request.path_params)))

    async def _log_in(self, request: Request) -> Response:
        session = self._logins.enter(request.path_params["secret"])
        peer = request.client.host if request.client else ""
        if not session:
            _log.warning("a log-in link of the dashboard was refused", extra=facts(caller=peer))
            return self._spent()
        _log.info("an operator logged in to the dashboard", extra=facts(caller=peer))
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=self._secure, path="/"
        )
        return response

    def _spent(self) -> Response:
        fix = "ask for another one: genepool-server dashboard link DIR"
        return self._message(PageRequest(), 403, "this link was used, is too old, or is none of this server's", fix)

    async def _log_out(self, request: Request) -> Response:
        self._logins.leave(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=self._secure)
        return response

    async def _style(self, request: Request) -> Response:  # noqa: ARG002 - the interface
        return Response(_style(), media_type="text/css", headers={"cache-control": "max-age=300"})


@functools.cache
def _style() -> bytes:
    return style()


def _response(content: Content, status: int = 200) -> Response:
    headers = {"content-type": content.kind}
    if content.kind == SVG:
        headers["content-security-policy"] = PICTURE_POLICY
    if content.file:
        headers["content-disposition"] = f'attachment; filename="{content.file}"'
    return Response(content.body, status, headers)
