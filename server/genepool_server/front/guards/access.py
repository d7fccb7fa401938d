"""The door of every method: the table of roles, asked at the call and at each message; and the rates of the sites."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc.aio

from genepool_protocol.wire.access import ACCESS, ANYBODY, authorise
from genepool_server.front.guards.callers import Caller, Callers
from genepool_server.front.guards.rates import Rates
from genepool_server.front.guards.rpc_shapes import rewrapped

_OURS: Final = "/genepool."
_SOMEBODY: Final = Caller("", frozenset())


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Refuses who may not call a method; raises our errors, so it stands inside the one that puts them on the wire.

    A call's rights are looked at again with every message that comes or goes: what the operator takes away ends
    streams that run.

    Args:
        callers: tells who calls.
        rates: how often a site may call; None: as often as it likes.
    """

    def __init__(self, callers: Callers, rates: Rates | None = None) -> None:
        self._callers = callers
        self._rates = rates

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler, wrapped; see the base class."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith(_OURS):  # health and reflection are for everybody
            return handler
        streamed = bool(handler.request_streaming)
        return rewrapped(handler, lambda inner: self._guarded(inner, method, streamed=streamed))

    def _guarded(self, inner: Any, method: str, *, streamed: bool) -> Any:
        def enter(request: Any, context: Any) -> Any:
            caller = self._check(method, context)
            if self._rates is not None and caller.site:
                self._rates.take(caller.site, method)
            return self._each(request, method, context) if streamed else request

        async def answer(request: Any, context: Any) -> Any:
            return await inner(enter(request, context), context)

        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            async with aclosing(inner(enter(request, context), context)) as messages:
                async for message in messages:
                    self._check(method, context)
                    yield message

        return answers if inspect.isasyncgenfunction(inner) else answer

    async def _each(self, messages: AsyncIterator[Any], method: str, context: Any) -> AsyncIterator[Any]:
        async for message in messages:
            self._check(method, context)
            yield message

    def _check(self, method: str, context: Any) -> Caller:
        if ACCESS.get(method) == ANYBODY:
            return _SOMEBODY  # a certificate that is worth nothing any more does no harm, either
        caller = self._callers(context)
        authorise(method, caller.roles, certified=bool(caller.site))
        return caller
