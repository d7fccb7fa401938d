"""Errors on the wire: google.rpc.Status with one ErrorInfo, in both directions.

A refusal carries `reason`, the sentence and the fix; the receiving side rebuilds the same class from the table.
"""

from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from genepool_protocol.wire.errors import REASONS, GenepoolError, InvalidInput, Unavailable, error
from genepool_protocol.wire.versions import ERROR_DOMAIN

_MAX_TEXT: Final = 500
"""Characters of a sentence: it travels twice in the trailers, which gRPC limits to 8 KiB."""


def to_status(exc: GenepoolError) -> Any:
    """A `grpc.Status` for `context.abort_with_status`."""
    row = REASONS.get(exc.reason, REASONS["INTERNAL"])
    metadata = {name: _sendable(text) for name, text in {"fix": exc.fix, **exc.metadata}.items()}
    info = error_details_pb2.ErrorInfo(reason=exc.reason, domain=ERROR_DOMAIN, metadata=metadata)
    detail = any_pb2.Any()
    detail.Pack(info)
    code = grpc.StatusCode[row.code].value[0]
    return rpc_status.to_status(status_pb2.Status(code=code, message=_sendable(exc.message), details=[detail]))


def _sendable(text: str) -> str:
    return text[:_MAX_TEXT].encode(errors="replace").decode()


def from_rpc_error(exc: grpc.RpcError, address: str) -> GenepoolError:  # noqa: PLR0911 - a table in words
    """The error that a failed call means.

    Args:
        exc: what the stub raised.
        address: whom we called, for the sentence.
    """
    for detail in _rich_details(exc):
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            found = error(info.reason, _details(exc), info.metadata.pop("fix", ""))
            found.metadata = dict(info.metadata)
            return found
    code, text = _code(exc), _details(exc)
    if code is grpc.StatusCode.UNAVAILABLE and ("certificate" in text.lower() or "handshake" in text.lower()):
        return Unavailable(
            "POOL_UNTRUSTED",
            f"the server at {address} does not show a certificate of the pool's CA",
            "check the address, and that the anchors file (pool.json) is this pool's",
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED):
        return Unavailable(
            "POOL_UNREACHABLE", f"no pool answers at {address}", "check the address and that it is serving"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable("TOO_SLOW", f"the pool at {address} did not answer in time", "try again")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:  # gRPC's own words, on either side
        return InvalidInput("MESSAGE_TOO_LARGE", f"a message to or from {address} is too large", "send less at once")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Unavailable("BUSY", f"the pool at {address} is at its limit", "try again in a minute")
    name = code.name if code else "no status"
    return GenepoolError("INTERNAL", f"the pool at {address} failed ({name})", "see the server's log")


def _rich_details(exc: grpc.RpcError) -> list[any_pb2.Any]:
    if not hasattr(exc, "trailing_metadata"):  # raised before there was a call
        return []
    try:
        status = rpc_status.from_call(exc)
    except (ValueError, DecodeError):  # the server's two statuses contradict each other: the plain one counts
        return []
    return list(status.details) if status else []


def _code(exc: grpc.RpcError) -> grpc.StatusCode | None:
    code = getattr(exc, "code", None)
    return code() if callable(code) else None


def _details(exc: grpc.RpcError) -> str:
    details = getattr(exc, "details", None)
    return str(details() or "") if callable(details) else ""
