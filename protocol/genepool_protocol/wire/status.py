"""Errors on the wire: google.rpc.Status with one ErrorInfo, and RetryInfo where waiting helps, in both directions.

A refusal carries `reason`, the sentence and the fix; the receiving side rebuilds the same class from the table.
"""

import re
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from genepool_protocol.wire.errors import REASONS, REQUEST, GenepoolError, InvalidInput, Unavailable, error
from genepool_protocol.wire.versions import ERROR_DOMAIN

_RETRY: Final = "retry_seconds"
"""Member of an error's metadata that travels as google.rpc.RetryInfo."""

REQUEST_ID: Final = "genepool-request-id"
"""Key of the trailing metadata that names the call: 16 hex digits, in every error that a method of ours answers."""

_ID: Final = re.compile(r"[0-9a-f]{16}")

_MAX_TEXT: Final = 500
"""Characters of a sentence: it travels twice in the trailers, which gRPC limits to 8 KiB."""


def to_status(exc: GenepoolError, request: str = "") -> Any:
    """A `grpc.Status` for `context.abort_with_status`.

    Args:
        exc: what is refused.
        request: id of the call, for the trailing metadata; empty for none.
    """
    row = REASONS.get(exc.reason, REASONS["INTERNAL"])
    facts = {"fix": exc.fix, **exc.metadata}
    metadata = {name: _sendable(text) for name, text in facts.items() if name not in (_RETRY, REQUEST)}
    info = error_details_pb2.ErrorInfo(reason=exc.reason, domain=ERROR_DOMAIN, metadata=metadata)
    code = grpc.StatusCode[row.code].value[0]
    details = [_packed(info), *_retry(exc)]
    status = rpc_status.to_status(status_pb2.Status(code=code, message=_sendable(exc.message), details=details))
    named = ((REQUEST_ID, request),) if request else ()
    return status._replace(trailing_metadata=(*status.trailing_metadata, *named))


def _retry(exc: GenepoolError) -> list[any_pb2.Any]:
    """The hint of an error that says when to come back, in its metadata."""
    seconds = exc.metadata.get(_RETRY)
    if seconds is None:
        return []
    return [_packed(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(seconds))))]


def _packed(message: Message) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail


def _sendable(text: str) -> str:
    return text[:_MAX_TEXT].encode(errors="replace").decode()


def request_of(trailing_metadata: Any) -> str:
    """The id of a call, from its trailing metadata; empty when there is none, or none of the form that pools give."""
    values = [value for key, value in trailing_metadata or () if key == REQUEST_ID]
    return values[0] if len(values) == 1 and isinstance(values[0], str) and _ID.fullmatch(values[0]) else ""


def from_rpc_error(exc: grpc.RpcError, address: str) -> GenepoolError:
    """The error that a failed call means, with the id by which the pool's log knows the call.

    Args:
        exc: what the stub raised.
        address: whom we called, for the sentence.
    """
    failure = _meaning(exc, address)
    request = request_of(exc.trailing_metadata()) if hasattr(exc, "trailing_metadata") else ""
    failure.metadata.pop(REQUEST, None)  # the id is what gRPC brought, whatever the details say
    if request:
        failure.metadata[REQUEST] = request
    return failure


def _meaning(exc: grpc.RpcError, address: str) -> GenepoolError:  # noqa: PLR0911 - a table in words
    details = _rich_details(exc)
    for detail in details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            failure = error(info.reason, _details(exc), info.metadata.pop("fix", ""))
            failure.metadata = {**info.metadata, **_retry_hint(details)}
            return failure
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


def _retry_hint(details: list[any_pb2.Any]) -> dict[str, str]:
    hint = error_details_pb2.RetryInfo()
    return {_RETRY: str(hint.retry_delay.seconds)} if any(detail.Unpack(hint) for detail in details) else {}


def retry_seconds(error: GenepoolError) -> int | None:
    """After how many seconds the other side says that the same call may succeed."""
    text = error.metadata.get(_RETRY)
    return int(text) if text is not None else None


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
