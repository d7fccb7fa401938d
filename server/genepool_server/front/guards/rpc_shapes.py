"""What the interceptors know of a method's handler: how one of its shape is made, and the function in it."""

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
