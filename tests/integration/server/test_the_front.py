"""What the server shows of itself and what it keeps away: capabilities, blueprints, health, reflection, limits, TLS."""

import contextlib
import socket
import ssl
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import genepool_protocol
from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.trust import digest
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import API_VERSION
from genepool_server.tls.identity import create_ca, utc_now
from tests.integration.server.wire import refused
from tests.support.server import TIMEOUT, channel, pool_server, wait_until

SERVICES = {
    f"genepool.v1.{name}Service" for name in ("Pool", "Trust", "Log", "Enrolment", "Contribute", "Select", "Descend")
}


def test_capabilities_name_versions_limits_and_blueprints(server, site, rng):
    before = site.stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION), timeout=TIMEOUT)
    site.contribute(rng)
    found = site.stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION), timeout=TIMEOUT)
    assert (found.low_api_version, found.high_api_version) == (API_VERSION, API_VERSION)
    assert found.software_version == genepool_protocol.__version__
    assert found.origin == server.trusted.origin
    assert [(one.name, one.sha256) for one in found.blueprints] == [("tiny-16", site.blueprint.sha256)]
    assert (found.max_learngene_bytes, found.max_chunk_bytes) == (LIMITS.learngene_bytes, LIMITS.chunk_bytes)
    assert found.max_support_images == LIMITS.support_images
    assert found.active_contributions == before.active_contributions + 1


@pytest.mark.parametrize("version", ["", "0.9", "2.0", "1"])
def test_another_api_version_is_refused_with_ours(stubs, version):
    error = refused(stubs.pool.GetCapabilities, pool_pb2.GetCapabilitiesRequest(api_version=version))
    assert (error.reason, error.metadata["low"]) == ("API_VERSION", API_VERSION)


def test_a_blueprint_comes_as_the_bytes_of_its_files(server, stubs):
    parts = list(stubs.pool.GetBlueprint(pool_pb2.GetBlueprintRequest(name="tiny-16"), timeout=TIMEOUT))
    folder = server.folder / "blueprints" / "tiny-16"
    assert parts[0].blueprint_json == (folder / "blueprint.json").read_bytes()
    assert all(len(part.seed_chunk) <= LIMITS.chunk_bytes for part in parts[1:])
    seed = b"".join(part.seed_chunk for part in parts[1:])
    assert seed == (folder / "seed.safetensors").read_bytes()
    assert f"sha256:{digest.sha256_hex(seed)}" == parse_blueprint(parts[0].blueprint_json).seed.sha256


def test_an_unknown_blueprint_is_named(stubs):
    error = refused(stubs.pool.GetBlueprint, pool_pb2.GetBlueprintRequest(name="nothing"))
    assert error.reason == "BLUEPRINT_UNKNOWN"


def test_a_call_without_a_deadline_is_refused_but_health_needs_none(stubs):
    with pytest.raises(grpc.RpcError) as caught:
        stubs.pool.GetCapabilities(pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    health = health_pb2_grpc.HealthStub(stubs.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


def test_health_is_serving_for_the_server_and_every_service(stubs):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    for name in ("", *SERVICES):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="genepool.v1.Nothing"), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_server_that_drains_says_so_to_whoever_watches(tmp_path):
    seen, first = [], threading.Event()

    def listen(watch) -> None:
        with contextlib.suppress(grpc.RpcError):  # the server ends the call at last
            for answer in watch:
                seen.append(answer.status)
                first.set()

    with contextlib.ExitStack() as later:
        with pool_server(tmp_path) as server:
            opened = later.enter_context(channel(server.anchors))
            watch = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
            thread = threading.Thread(target=listen, args=(watch,))
            thread.start()
            assert first.wait(TIMEOUT)
        thread.join(TIMEOUT)
    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


def test_reflection_lists_the_services_of_the_network_and_no_others(stubs):
    reflection = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([question]), timeout=TIMEOUT)
    names = {service.name for service in answer.list_services_response.service}
    assert names == SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_the_operators_service_is_not_on_the_network(stubs):
    call = stubs.channel.unary_unary("/genepool.v1.OperatorService/ListSites")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_above_the_limit_is_refused_and_the_server_goes_on(site):
    large, stubs = pb.BeginRequest(bundle=bytes(LIMITS.message_bytes + 1)), site.stubs
    with pytest.raises(grpc.RpcError) as caught:
        stubs.contribute.Begin(large, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused(stubs.contribute.Begin, pb.BeginRequest(bundle=bytes(1 << 20))).reason == "JSON_MALFORMED"


def test_a_message_that_is_small_only_until_it_is_unpacked_is_refused(stubs):
    large = pb.BeginRequest(bundle=bytes(64 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        stubs.contribute.Begin(large, timeout=TIMEOUT, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused(stubs.contribute.Begin, pb.BeginRequest(bundle=b"x")).reason == "CERT_REQUIRED"


def test_metadata_above_the_limit_is_refused(stubs):
    with pytest.raises(grpc.RpcError) as caught:
        stubs.pool.GetCapabilities(
            pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION),
            metadata=[("x-large", "x" * (16 << 10))],
            timeout=TIMEOUT,
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_that_is_no_message_is_refused_and_the_server_goes_on(stubs):
    call = stubs.channel.unary_unary("/genepool.v1.PoolService/GetCapabilities")
    with pytest.raises(grpc.RpcError):
        call(b"\xff\xff\xff", timeout=TIMEOUT)
    assert refused(stubs.pool.GetBlueprint, pool_pb2.GetBlueprintRequest(name="x")).reason == "BLUEPRINT_UNKNOWN"


def test_a_client_of_another_ca_does_not_talk_to_the_server(server, tmp_path):
    wrong = server.anchors.model_copy(update={"ca_pem": create_ca(tmp_path, utc_now())})
    with channel(wrong) as opened:
        call = opened.unary_unary("/genepool.v1.PoolService/GetCapabilities")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_without_tls_nothing_is_answered(server):
    with grpc.insecure_channel(server.address) as opened:
        call = opened.unary_unary("/genepool.v1.PoolService/GetCapabilities")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_certificate_verifies_under_the_name_localhost(server):
    context = ssl.create_default_context(cadata=server.anchors.ca_pem)
    host, port = server.address.split(":")
    with (
        socket.create_connection((host, int(port)), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"


def test_one_call_too_many_is_refused_and_the_next_one_is_not(tmp_path):
    with pool_server(tmp_path, concurrent_calls=1) as server, server.stubs() as stubs:
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        next(watch)
        request = pool_pb2.GetBlueprintRequest(name="nothing")
        assert refused(stubs.pool.GetBlueprint, request).reason == "BUSY"
        watch.cancel()
        assert wait_until(lambda: refused(stubs.pool.GetBlueprint, request).reason == "BLUEPRINT_UNKNOWN")
