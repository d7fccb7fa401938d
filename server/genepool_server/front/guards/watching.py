"""The outermost interceptor: every call gets an id, and whoever watches hears how it ended."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from genepool_console.log_lines import REQUEST
from genepool_server.front.guards.calls import CALL, Call
from genepool_server.front.guards.rpc_shapes import rewrapped

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class WatchInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method, outside of all that may refuse it.

    Args:
        ended: called once for each call, on the event loop; it must not block.
    """

    def __init__(self, ended: Callable[[Call], None]) -> None:
        self._ended = ended

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler, wrapped; see the base class."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return rewrapped(handler, lambda inner: self._watched(inner, str(handler_call_details.method)))

    def _watched(self, inner: Any, method: str) -> Any:
        async def call(messages: AsyncIterator[Any], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            watched = Call(method, secrets.token_hex(8))
            CALL.set(watched)
            REQUEST.set(watched.request)
            code = "OK"
            try:
                return await inner(messages, context)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                code = _code(context)
                raise
            except Exception:
                code = "UNKNOWN"  # which is what gRPC answers then
                raise
            finally:
                watched.end(code)
                self._ended(watched)

        return call


def _code(context: Any) -> str:
    """Name of the status that a service chose by itself."""
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, "UNKNOWN")
