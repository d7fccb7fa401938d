"""The one connection of a client to a pool: TLS under the pinned CA, deadlines, retries, and errors that are ours."""

import contextlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from genepool_client.transport import blueprints
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.v1 import consume_pb2, contribute_pb2, pool_pb2
from genepool_protocol.v1.consume_pb2_grpc import DescendServiceStub, SelectServiceStub
from genepool_protocol.v1.contribute_pb2_grpc import ContributeServiceStub, EnrolmentServiceStub
from genepool_protocol.v1.pool_pb2_grpc import LogServiceStub, PoolServiceStub
from genepool_protocol.wire.errors import InvalidInput, VerificationError, VersionMismatch
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.status import from_rpc_error
from genepool_protocol.wire.versions import API_VERSION

_Q = TypeVar("_Q")
_A = TypeVar("_A")

_RETRY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "10s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def _service_config() -> str:
    """Retries for the unary methods, all of which are idempotent; streams are resumed by who reads them."""
    names = [
        {"service": service.full_name, "method": method.name}
        for module in (pool_pb2, contribute_pb2, consume_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
    ]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY}]})


_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", LIMITS.message_bytes),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", _service_config()),
    # a restarted pool is found again within a second or two
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def default_cache() -> Path:
    """Where verified blueprints are kept: $GENEPOOL_CACHE, or `genepool` in the user's cache folder."""
    given = os.environ.get("GENEPOOL_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "genepool"


class Connection:
    """A channel to the pool of some anchors; opens lazily, so making one never fails for a pool that is away.

    Args:
        anchors: the pool's address and keys.
        timeout: seconds that a unary call may take, retries included.
        stream_timeout: seconds that a whole stream may take.
        cache: folder for verified blueprints; `default_cache()` when not given.

    Raises:
        InvalidInput: OPTION_INVALID, the address is not HOST:PORT; KEY_MALFORMED, the CA is no certificate.
    """

    def __init__(
        self, anchors: Anchors, timeout: float = 30.0, *, stream_timeout: float = 900.0, cache: Path | None = None
    ) -> None:
        check_address(anchors.address)
        if "-----BEGIN CERTIFICATE-----" not in anchors.ca_pem:
            raise InvalidInput("KEY_MALFORMED", "the anchors hold no CA certificate", "ask the operator for pool.json")
        self.anchors, self.timeout, self.stream_timeout = anchors, timeout, stream_timeout
        self.cache = cache or default_cache()
        credentials = grpc.ssl_channel_credentials(root_certificates=anchors.ca_pem.encode())
        self._channel = grpc.secure_channel(anchors.address, credentials, options=_OPTIONS)
        self.pool = PoolServiceStub(self._channel)
        self.log = LogServiceStub(self._channel)
        self.enrolment = EnrolmentServiceStub(self._channel)
        self.contribute = ContributeServiceStub(self._channel)
        self.select = SelectServiceStub(self._channel)
        self.descend = DescendServiceStub(self._channel)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.anchors.address

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Q, _A]",
        request: _Q,
        *,
        timeout: float | None = None,
        wait: bool = False,
    ) -> _A:
        """The answer of a unary method, for instance `connection.call(connection.pool.GetCapabilities, request)`.

        Args:
            method: of one of the stubs.
            request: its request.
            timeout: seconds; the connection's by default.
            wait: wait for a pool that is away, up to the timeout, instead of failing after the retries.

        Raises:
            GenepoolError: what the pool answered, or POOL_UNREACHABLE, POOL_UNTRUSTED, TOO_SLOW, BUSY.
        """
        try:
            return method(request, timeout=timeout or self.timeout, wait_for_ready=wait)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self.address) from exc

    def stream(
        self, method: "grpc.UnaryStreamMultiCallable[_Q, _A]", request: _Q, *, timeout: float | None = None
    ) -> Generator[_A, None, None]:
        """The answers of a streaming method; leaving the iterator (also by `close()`) ends the call.

        Raises:
            GenepoolError: as `call`, also in the middle.
        """
        answers = method(request, timeout=timeout or self.stream_timeout)
        try:
            yield from answers
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self.address) from exc
        finally:
            answers.cancel()

    def capabilities(self) -> pool_pb2.GetCapabilitiesResponse:
        """What the pool can do, after its version and keys were held against ours.

        Raises:
            VersionMismatch: API_VERSION.
            VerificationError: KEY_UNKNOWN, it is another pool than the anchors'.
            GenepoolError: as `call`.
        """
        answer = self.call(self.pool.GetCapabilities, pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION))
        _check_version(answer, self.address)
        _check_keys(answer, self.anchors)
        return answer

    def blueprint(self, name: str) -> tuple[Blueprint, Path]:
        """A blueprint of the pool, and the path of its verified seed.safetensors (blueprint.json lies beside it).

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
            InvalidInput: BLUEPRINT_MALFORMED or DIGEST_MISMATCH, what the pool sent is not what it announced.
            GenepoolError: as `capabilities`.
        """
        digest = blueprints.announced(self.capabilities(), name, self.address)
        request = pool_pb2.GetBlueprintRequest(name=name)
        with contextlib.closing(self.stream(self.pool.GetBlueprint, request)) as parts:
            return blueprints.load(self.cache, digest, parts)

    def close(self) -> None:
        """Close the channel; calls that run are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_address(address: str) -> str:
    """The address, if it is HOST:PORT.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16 or "/" in address:
        raise InvalidInput("OPTION_INVALID", f"{address!r} is not the address of a pool", "write it as HOST:PORT")
    return address


def _check_version(answer: pool_pb2.GetCapabilitiesResponse, address: str) -> None:
    try:
        low, high, ours = (
            tuple(int(part) for part in text.split("."))
            for text in (answer.low_api_version, answer.high_api_version, API_VERSION)
        )
    except ValueError:
        low, high, ours = (1,), (0,), (0,)
    if not low <= ours <= high:
        raise VersionMismatch(
            "API_VERSION",
            f"the pool at {address} speaks API {answer.low_api_version or '?'} to {answer.high_api_version or '?'}, "
            f"this software speaks {API_VERSION}",
            f"install the version of genepool that fits (the pool runs {answer.software_version or 'an unknown one'})",
        )


def _check_keys(answer: pool_pb2.GetCapabilitiesResponse, anchors: Anchors) -> None:
    pairs = {
        "log origin": (answer.origin, anchors.origin),
        "log key": (answer.log_vkey, anchors.log_vkey),
        "release key": (VerifyingKey.from_pem(answer.release_key_pem).keyid, anchors.release_key.keyid),
    }
    for what, (found, pinned) in pairs.items():
        if found != pinned:
            raise VerificationError(
                "KEY_UNKNOWN",
                f"the pool at {anchors.address} has another {what} than the pinned anchors (pool.json)",
                "check the address; if the pool was made anew, ask its operator for the new pool.json",
            )
