"""The one connection of a client to a pool: TLS, with a certificate or without, what it may believe, and our errors.

Before anything else is asked, the pool's trust root is refreshed and verified; every key that is used comes from there.
"""

import contextlib
import json
import random
import re
import time
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import Message

from genepool_client.transport import blueprints
from genepool_client.transport.causes import UNEXPLAINED, cause
from genepool_client.transport.handshake import CertifiedPlace, rejection
from genepool_client.transport.proxies import channel_options
from genepool_client.transport.tally import TALLY
from genepool_client.transport.trust_root import TrustRoot
from genepool_client.transport.user_folders import default_cache
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.v1 import consume_pb2, contribute_pb2, pool_pb2
from genepool_protocol.v1.consume_pb2_grpc import DescendServiceStub, SelectServiceStub
from genepool_protocol.v1.contribute_pb2_grpc import ContributeServiceStub, EnrolmentServiceStub
from genepool_protocol.v1.pool_pb2_grpc import LogServiceStub, PoolServiceStub
from genepool_protocol.wire.errors import (
    GenepoolError,
    InvalidInput,
    Refused,
    Unavailable,
    VerificationError,
    VersionMismatch,
)
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.status import from_rpc_error, retry_seconds
from genepool_protocol.wire.versions import API_VERSION

_Q = TypeVar("_Q", bound=Message)
_A = TypeVar("_A")

_RETRY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "10s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

_JITTER: Final = 0.5
"""Share of a pause by which it may last longer."""

_SILENT: Final = frozenset({"POOL_UNREACHABLE", "TOO_SLOW"})
"""What gRPC makes of a handshake that the server ends."""


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


class Connection:
    """A channel to the pool of some anchors; opens lazily, so making one never fails for a pool that is away.

    Args:
        anchors: the pool's address and pinned root.
        timeout: seconds that a unary call may take, retries included.
        stream_timeout: seconds that a whole stream may take.
        cache: folder for verified blueprints; `default_cache()` when not given.
        identity: a TLS key with its certificate, for what is not for everybody.
        trust: folder for what was verified of trust roots; in the user's settings when not given.

    Raises:
        InvalidInput: OPTION_INVALID, the address is not HOST:PORT; KEY_MALFORMED, the CA is no certificate.
    """

    def __init__(
        self,
        anchors: Anchors,
        timeout: float = 30.0,
        *,
        stream_timeout: float = 900.0,
        cache: Path | None = None,
        identity: TlsIdentity | None = None,
        trust: Path | None = None,
    ) -> None:
        check_address(anchors.address)
        if "-----BEGIN CERTIFICATE-----" not in anchors.ca_pem:
            raise InvalidInput("KEY_MALFORMED", "the anchors hold no CA certificate", "ask the operator for pool.json")
        self.anchors, self.timeout, self.stream_timeout = anchors, timeout, stream_timeout
        self.cache = cache or default_cache()
        self._identity = identity
        self._root = TrustRoot(anchors, trust)
        self._certified: grpc.Channel | None = None
        self._certified_at: CertifiedPlace | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.anchors.address

    @property
    def trusted(self) -> Trusted:
        """What the pool's trust root says, at most some minutes ago.

        Raises:
            VerificationError: TRUST_INVALID, TRUST_ROLLBACK, TRUST_EXPIRED or CLOCK_WRONG.
            GenepoolError: as `call`.
        """
        try:
            return self._root.fresh(self._first, self.timeout)
        except Unavailable as exc:
            explained = self._explained(exc)
            if explained is exc:
                raise
            raise explained from exc

    @cached_property
    def _first(self) -> grpc.Channel:
        """For the trust root alone, which needs no TLS: also under a CA that the anchors named long ago."""
        return _channel(self.address, self._ca_before)

    @cached_property
    def _ca_before(self) -> str:
        known = self._root.cached()
        if known is None or known.ca_pem == self.anchors.ca_pem:
            return self.anchors.ca_pem
        return known.ca_pem + self.anchors.ca_pem

    @cached_property
    def _open(self) -> grpc.Channel:
        """Without a certificate, under the CA that the trust root names."""
        ca_pem = self.trusted.ca_pem
        return self._first if ca_pem == self._ca_before else _channel(self.address, ca_pem)

    @cached_property
    def pool(self) -> PoolServiceStub:
        """What the pool is."""
        return PoolServiceStub(self._open)

    @cached_property
    def log(self) -> LogServiceStub:
        """Its log."""
        return LogServiceStub(self._open)

    @cached_property
    def enrolment(self) -> EnrolmentServiceStub:
        """How a site joins."""
        return EnrolmentServiceStub(self._open)

    @cached_property
    def account(self) -> EnrolmentServiceStub:
        """What a site does with its own keys, under its certificate."""
        return EnrolmentServiceStub(self._known())

    @cached_property
    def contribute(self) -> ContributeServiceStub:
        """Contributing, under the certificate."""
        return ContributeServiceStub(self._known())

    @cached_property
    def select(self) -> SelectServiceStub:
        """Selecting, under the certificate if there is one."""
        return SelectServiceStub(self._known())

    @cached_property
    def descend(self) -> DescendServiceStub:
        """Descending, under the certificate if there is one."""
        return DescendServiceStub(self._known())

    def _known(self) -> grpc.Channel:
        """The channel on which the pool knows who we are; it learns no more than on the other without a certificate."""
        if self._identity is None:
            return self._open
        if self._certified is None:
            place = self._place()
            self._certified = _channel(place.address, self.trusted.ca_pem, self._identity, place.name)
        return self._certified

    def _place(self) -> CertifiedPlace:
        if self._certified_at is None:
            self.capabilities()
        assert self._certified_at is not None  # noqa: S101 - `capabilities` has set it
        return self._certified_at

    def error(self, exc: grpc.RpcError) -> GenepoolError:
        """What a failed call means; of a handshake that the server ended, why."""
        failure = from_rpc_error(exc, self.address)
        failure = self._explained(failure)
        if self._certified is None or self._identity is None or failure.reason not in _SILENT:
            return failure
        place = self._place()
        why = rejection(place, self.trusted.ca_pem, self._identity)
        if why is None:
            return failure
        return Refused(
            "CERT_REJECTED",
            f"the pool at {place.address} does not accept the certificate in {self._identity.path}: {why}",
            "ask the operator for a new invitation (--again), then: genepool site enrol DIR --invite FILE",
        )

    def _explained(self, failure: GenepoolError) -> GenepoolError:
        """The failure, or what is behind it where gRPC did not say."""
        return (failure.reason in UNEXPLAINED and cause(self.address, self._ca_before)) or failure

    @contextlib.contextmanager
    def translated(self) -> Generator[None, None, None]:
        """A block that makes one call; what gRPC raises in it becomes our error, see `error`."""
        try:
            yield
        except grpc.RpcError as exc:
            raise self.error(exc) from exc

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

        A pool that says when to come back is asked again then, if that is before the timeout.

        Raises:
            GenepoolError: what the pool answered, or POOL_UNREACHABLE, POOL_UNTRUSTED, CERT_REJECTED, TOO_SLOW, BUSY,
                or one of `causes`.
        """
        seconds = timeout or self.timeout
        end = time.monotonic() + seconds
        while True:
            try:
                with TALLY.counting(type(request)), self.translated():
                    return method(request, timeout=seconds, wait_for_ready=wait)
            except GenepoolError as error:
                pause = pause_after(error)
                if pause is None or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)

    def stream(
        self, method: "grpc.UnaryStreamMultiCallable[_Q, _A]", request: _Q, *, timeout: float | None = None
    ) -> Generator[_A, None, None]:
        """The answers of a streaming method; leaving the iterator (also by `close()`) ends the call.

        A pool that refuses before the first answer and says when to come back is asked again then, as in `call`.

        Raises:
            GenepoolError: as `call`, also in the middle.
        """
        seconds = timeout or self.stream_timeout
        end = time.monotonic() + seconds
        while True:
            begun = False
            answers = method(request, timeout=max(0.001, end - time.monotonic()))
            try:
                with TALLY.counting(type(request)), self.translated():
                    for message in answers:
                        begun = True
                        yield message
            except GenepoolError as error:
                pause = None if begun else pause_after(error)
                if pause is None or time.monotonic() + pause > end:
                    raise
            else:
                return
            finally:
                answers.cancel()
            time.sleep(pause)

    def capabilities(self) -> pool_pb2.GetCapabilitiesResponse:
        """What the pool can do, after its version and name were held against ours.

        Raises:
            VersionMismatch: API_VERSION.
            InvalidInput: FIELD_MALFORMED, it names no server.
            VerificationError: KEY_UNKNOWN, it goes by another name than its trust root says.
            GenepoolError: as `call`.
        """
        response = self.call(self.pool.GetCapabilities, pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION))
        _check_version(response, self.address)
        _check_name(response, self.trusted.origin, self.address)
        self._certified_at = _certified_place(self.address, response)
        return response

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
        """Close the channels; calls that run are cancelled."""
        for channel in (self.__dict__.get("_first"), self.__dict__.get("_open"), self._certified):
            if channel is not None:
                channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pause_after(error: GenepoolError) -> float | None:
    """After how many seconds to ask again, if the pool said so: at its word or up to half as much later.

    Else all whom a busy pool refused would come back at the same moment.
    """
    seconds = retry_seconds(error)
    return None if seconds is None else seconds * (1 + _JITTER * random.random())  # noqa: S311 - no secret


def _certified_place(address: str, answer: pool_pb2.GetCapabilitiesResponse) -> CertifiedPlace:
    if answer.certified_name:
        if not _SERVER_NAME.fullmatch(answer.certified_name):
            raise InvalidInput("FIELD_MALFORMED", f"the pool at {address} names no server", "tell its operator")
        return CertifiedPlace(address, answer.certified_name)
    return CertifiedPlace(f"{address.rpartition(':')[0]}:{answer.certified_port}")


def _channel(address: str, ca_pem: str, identity: TlsIdentity | None = None, name: str = "") -> grpc.Channel:
    key, chain = (identity.key.pem(), identity.chain) if identity else (None, None)
    named = [("grpc.ssl_target_name_override", name)] if name else []
    credentials = grpc.ssl_channel_credentials(ca_pem.encode(), key, chain)
    return grpc.secure_channel(address, credentials, options=[*_OPTIONS, *channel_options(address), *named])


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


def _check_name(answer: pool_pb2.GetCapabilitiesResponse, origin: str, address: str) -> None:
    if answer.origin != origin:
        raise VerificationError(
            "KEY_UNKNOWN",
            f"the pool at {address} calls itself by another name than its trust root says",
            "tell its operator",
        )
