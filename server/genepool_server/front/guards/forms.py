"""The form of every request, looked at once for all methods, behind the door and before the service."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from genepool_protocol.wire import forms
from genepool_protocol.wire.errors import InvalidInput
from genepool_server.front.guards.rpc_shapes import rewrapped

_OURS: Final = "/genepool."


class FormInterceptor(grpc.aio.ServerInterceptor):
    """Refuses requests by the table in `wire/forms.py`; the innermost one, so that strangers are refused before."""

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler, wrapped; see the base class."""
        handler = await continuation(handler_call_details)
        if handler is None or not str(handler_call_details.method).startswith(_OURS):
            return handler
        read, streamed = handler.request_deserializer, bool(handler.request_streaming)
        return rewrapped(handler, lambda inner: _guarded(inner, streamed=streamed), lambda raw: _read(read, raw))


def _read(read: Any, raw: bytes) -> Any:
    try:
        return read(raw)
    except DecodeError:
        return None  # gRPC would answer INTERNAL: it is refused when the method is begun


def _checked(request: Any) -> Any:
    if request is None:
        raise InvalidInput("FIELD_MALFORMED", "the bytes are no message of this method", "use the .proto files")
    forms.check(request)
    return request


def _guarded(inner: Any, *, streamed: bool) -> Any:
    enter = _each if streamed else _checked

    async def answer(request: Any, context: Any) -> Any:
        return await inner(enter(request), context)

    async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(inner(enter(request), context)) as messages:
            async for message in messages:
                yield message

    return answers if inspect.isasyncgenfunction(inner) else answer


async def _each(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        yield _checked(message)
