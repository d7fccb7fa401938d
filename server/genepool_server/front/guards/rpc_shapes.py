"""What the interceptors know of a method's handler: how one of its shape is made, and the function in it."""

from collections.abc import Callable
from typing import Any

import grpc


def parts(handler: "grpc.RpcMethodHandler[Any, Any]") -> tuple[Any, Any]:
    """How a handler of this shape is made, and the function in it."""
    match (bool(handler.request_streaming), bool(handler.response_streaming)):
        case (False, False):
            return grpc.unary_unary_rpc_method_handler, handler.unary_unary
        case (False, True):
            return grpc.unary_stream_rpc_method_handler, handler.unary_stream
        case (True, False):
            return grpc.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream


def rewrapped(
    handler: "grpc.RpcMethodHandler[Any, Any]", wrap: Callable[[Any], Any], read: Any = None
) -> "grpc.RpcMethodHandler[Any, Any]":
    """A handler of the same shape around the function in it.

    Args:
        handler: what gRPC would call.
        wrap: makes the function that is called instead.
        read: reads the bytes of a request; by default as before.
    """
    make, inner = parts(handler)
    around: grpc.RpcMethodHandler[Any, Any] = make(
        wrap(inner),
        request_deserializer=read or handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return around
