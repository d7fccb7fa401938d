"""What leaves a service as an exception reaches the client as google.rpc.Status, and nothing else of it does.

Our errors carry their reason; a full disk is DISK_FULL; everything else is INTERNAL without a word of it, and stands in
the log. A cancelled call stays cancelled.
"""

import errno
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError
from genepool_protocol.wire.status import to_status
from genepool_server.front.handlers import parts
from genepool_server.front.patience import patience

_log = logging.getLogger(__name__)

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_OURS: Final = "/genepool."


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


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server, whatever its shape.

    Args:
        stall_seconds: a client that takes no answer of a stream for so long is cut off.
        deadlines: whether a call to one of our services must have a deadline.
        told: what of an error the clients of this server may know; all of it unless given.
    """

    def __init__(
        self,
        stall_seconds: float,
        *,
        deadlines: bool,
        told: Callable[[GenepoolError], GenepoolError] = lambda error: error,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._deadlines = deadlines
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
        make, inner = parts(handler)
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            self._guarded(inner, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _guarded(self, inner: Any, method: str) -> Any:
        async def answer(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            try:
                self._check(method, context)
                return await inner(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as exc:  # noqa: BLE001 - the edge of the program
                await _abort(context, self._told(to_error(exc, method)))

        async def answers(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[Any]:
            try:
                self._check(method, context)
                async with aclosing(inner(request, context)) as messages:
                    async for message in messages:
                        with patience(self._stall_seconds):
                            yield message
            except grpc.aio.AbortError:
                raise
            except Exception as exc:  # noqa: BLE001 - the edge of the program
                await _abort(context, self._told(to_error(exc, method)))

        return answers if inspect.isasyncgenfunction(inner) else answer

    def _check(self, method: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        if self._deadlines and method.startswith(_OURS) and context.time_remaining() is None:
            raise InvalidInput(
                "DEADLINE_REQUIRED", f"the call of {method} has no deadline", "set a timeout for every call"
            )


async def _abort(context: "grpc.aio.ServicerContext[Any, Any]", error: GenepoolError) -> None:
    await context.abort_with_status(to_status(error))
