"""What leaves a service as an exception reaches the client as google.rpc.Status, and nothing else of it does.

Our errors carry their reason; a full disk is DISK_FULL; everything else is INTERNAL without a word of it, and stands in
the log. A cancelled call stays cancelled.
"""

import errno
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError
from genepool_protocol.wire.status import to_status
from genepool_server.deadline import within
from genepool_server.front.guards.calls import CALL
from genepool_server.front.guards.holding import Holding
from genepool_server.front.guards.rpc_shapes import parts
from genepool_server.front.guards.shares import Shares
from genepool_server.front.guards.slow_clients import HEAD_START, SLOWEST_READ, Reader
from genepool_server.serving.bounded_queue import Gate
from genepool_server.serving.peers import CURRENT

_log = logging.getLogger(__name__)

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_OURS: Final = "/genepool."
_QUEUED: Final = ("/genepool.v1.SelectService/", "/genepool.v1.DescendService/")
"""Services whose calls wait for a place of serving: `serving.service`."""


def to_error(exc: Exception, method: str) -> GenepoolError:
    """What a client may know of an exception; whatever is not ours is logged.

    Args:
        exc: what a service raised.
        method: full name of the called method.
    """
    if isinstance(exc, GenepoolError):
        if exc.reason == "INTERNAL" or isinstance(exc, StorageError):
            _log.error("%s: %s", method, exc.diagnostics(), exc_info=exc)
        return exc
    _log.error("%s failed", method, exc_info=exc)
    if isinstance(exc, OSError) and exc.errno in _NO_ROOM:
        return StorageError(
            "DISK_FULL", "the pool's disk is full", "try again later; the operator must free some space"
        )
    return GenepoolError("INTERNAL", "the pool failed", "try again; the cause is in the server's log")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long a call may take at every step, in seconds.

    Attributes:
        stall: one message of an answer may wait for the client.
        first: until the first message comes.
        ours: the whole of a call to one of our services.
        others: the whole of one to health or reflection, which would go on for ever.
        slowest: bytes a second at which an answer must be taken over its whole length; no seconds.
        head_start: that the client may be behind.
    """

    stall: float
    first: float = 5.0
    ours: float = 1800.0
    others: float = 300.0
    slowest: int = SLOWEST_READ
    head_start: float = HEAD_START


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server, whatever its shape; it is the outermost one but `watching`.

    Inside, all methods take a stream of messages: so a call is known by its headers, before it has sent anything, and
    the place that it holds is bounded from then on.

    Args:
        limits: of a call; a number stands for `Limits(stall)`.
        deadlines: whether a call to one of our services must have a deadline.
        shares: how many calls may be open; None: as many as come.
        gate: the turns of what is answered at once; None: all at the same time.
        holding: holds refusals for load back; None: they go out at once.
        told: what of an error the clients of this server may know; all of it unless given.
    """

    def __init__(
        self,
        limits: CallLimits | float,
        *,
        deadlines: bool,
        shares: Shares | None = None,
        gate: Gate | None = None,
        holding: Holding | None = None,
        told: Callable[[GenepoolError], GenepoolError] = lambda error: error,
    ) -> None:
        self._limits = limits if isinstance(limits, CallLimits) else CallLimits(limits)
        self._deadlines = deadlines
        self._shares = shares
        self._gate = gate
        self._holding = holding
        self._told = told

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler, wrapped; see the base class."""
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: gRPC answers UNIMPLEMENTED
            return None
        method = str(handler_call_details.method)
        streamed = bool(handler.response_streaming)
        make = grpc.stream_stream_rpc_method_handler if streamed else grpc.stream_unary_rpc_method_handler
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            self._guarded(handler, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _guarded(self, handler: Any, method: str) -> Any:
        _, inner = parts(handler)
        wrap = self._streaming if handler.response_streaming else self._single
        respond = wrap(inner, self._turns(handler, method))
        seconds = self._limits.ours if method.startswith(_OURS) else self._limits.others

        async def call(messages: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            try:
                if self._shares is not None:
                    self._enter(self._shares, context)
                self._check(method, context)
                async with within(seconds, f"the call of {method} did not end"):
                    request = (
                        _opened(messages, self._limits)
                        if handler.request_streaming
                        else await _only(messages, self._limits, method)
                    )
                    return await respond(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as exc:  # noqa: BLE001 - the edge of the program
                refusal = self._told(to_error(exc, method)).with_traceback(None)  # its frames hold the request
            return await self._refuse(refusal, context)

        return call

    async def _refuse(self, refusal: GenepoolError, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        if self._holding is not None:
            await self._holding.keep(refusal, context)
        await _abort(context, refusal)

    @staticmethod
    def _enter(shares: Shares, context: Any) -> None:
        peer = shares.whose(context)
        CURRENT.set(peer)
        if (watched := CALL.get()) is not None:
            watched.peer = peer
        shares.take(peer, context)

    def _single(self, inner: Any, turn: Callable[[], Any]) -> Any:
        async def answer(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            async with turn():
                return await inner(request, context)

        return answer

    def _streaming(self, inner: Any, turn: Callable[[], Any]) -> Any:
        """The answer message by message: each is made within a turn, and sent outside of it."""

        async def answer(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            if not inspect.isasyncgenfunction(inner):  # it writes by itself
                await inner(request, context)
                return
            reader = Reader(self._limits.stall, self._limits.slowest, self._limits.head_start)
            async with aclosing(inner(request, context)) as messages:
                while True:
                    async with turn():
                        message = await anext(messages, None)
                    if message is None:
                        return
                    await reader.send(message, context.write)

        return answer

    def _turns(self, handler: Any, method: str) -> Callable[[], Any]:
        """What a call goes through for each of its answers; uploads and the queued ones have other gates."""
        gate = self._gate
        if gate is None or handler.request_streaming or not method.startswith(_OURS) or method.startswith(_QUEUED):
            return nullcontext
        return gate.turn

    def _check(self, method: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        if self._deadlines and method.startswith(_OURS) and context.time_remaining() is None:
            raise InvalidInput(
                "DEADLINE_REQUIRED", f"the call of {method} has no deadline", "set a timeout for every call"
            )


async def _next(messages: AsyncIterator[Any], seconds: float) -> Any:
    """The next message.

    Raises:
        StopAsyncIteration: there is none.
        Unavailable: TOO_SLOW.
    """
    async with within(seconds, "the next message of a call did not end"):
        return await anext(messages)


async def _only(messages: AsyncIterator[Any], limits: CallLimits, method: str) -> Any:
    """The one message of a call that has one.

    Raises:
        InvalidInput: OPTION_INVALID, it does not come, is none of this method's, or another one follows.
        Unavailable: TOO_SLOW.
    """
    try:
        message = await _next(messages, limits.first)
    except StopAsyncIteration:
        raise InvalidInput("OPTION_INVALID", f"the call of {method} carries no message", "send one") from None
    except DecodeError:
        raise InvalidInput("OPTION_INVALID", f"the message is none of {method}", "use the published stubs") from None
    with suppress(StopAsyncIteration):
        await _next(messages, limits.first)  # to its end: gRPC's reader keeps the message, and its images, until then
        raise InvalidInput("OPTION_INVALID", f"the call of {method} carries several messages", "send one")
    return message


async def _opened(messages: AsyncIterator[Any], limits: CallLimits) -> AsyncIterator[Any]:
    """The messages of a call that has several; the first comes soon, and no pause is endless."""
    seconds = limits.first
    while True:
        try:
            message = await _next(messages, seconds)
        except StopAsyncIteration:
            return
        yield message
        seconds = limits.stall


async def _abort(context: "grpc.aio.ServicerContext[Any, Any]", error: GenepoolError) -> None:
    watched = CALL.get()
    if watched is not None:
        watched.refuse(error)
    with suppress(grpc.aio.InternalError):  # the client has gone meanwhile
        await context.abort_with_status(to_status(error, watched.request if watched else ""))
