"""The gate leads to Flower's Fleet API and nowhere else."""

import asyncio
import ssl

import httpx
import pytest

from genepool_server.campaign import gate
from genepool_server.campaign.places import Places
from genepool_server.tls import identity


class SuperLink:
    """Says what reached it."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(401, content=b"unsigned", headers={"x-flower": "1"})


@pytest.fixture
def ca(tmp_path):
    identity.create_ca(tmp_path, identity.utc_now())
    return tmp_path / "ca.crt"


def asked(ca, method: str, path: str, content: bytes = b"", broken: bool = False) -> tuple[httpx.Response, SuperLink]:
    superlink = SuperLink()

    def refuse(request):
        raise httpx.ConnectError("gone", request=request)

    transport = httpx.MockTransport(refuse if broken else superlink)
    app = gate.application("127.0.0.1:1", ca, Places(), transport)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://gate") as client:
            return await client.request(method, path, content=content, headers={"flwr-signature": "s"})

    return asyncio.run(ask()), superlink


def test_what_a_node_says_is_passed_on_with_its_signature(ca):
    response, superlink = asked(ca, "POST", "/v1/fleet/pull-messages", b"request")
    assert (response.status_code, response.content, response.headers["x-flower"]) == (401, b"unsigned", "1")
    (request,) = superlink.requests
    assert str(request.url) == "https://127.0.0.1:1/v1/fleet/pull-messages"
    assert (request.content, request.headers["flwr-signature"]) == (b"request", "s")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/acquire-task"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/../control/start-run"),
        ("POST", "/v1/fleet/%2e%2e%2fcontrol%2fstart-run"),
        ("POST", "/v1/fleet/pull-messages/x"),
    ],
)
def test_nothing_else_is_there(ca, method, path):
    response, superlink = asked(ca, method, path)
    assert (response.status_code, superlink.requests) == (404, [])


def test_more_than_a_receipt_does_not_pass(ca):
    response, superlink = asked(ca, "POST", "/v1/fleet/push-object", b"x" * (gate.MAX_BODY + 1))
    assert (response.status_code, superlink.requests) == (413, [])


def test_a_superlink_that_has_gone_is_a_bad_gateway(ca):
    assert asked(ca, "POST", "/v1/fleet/pull-messages", broken=True)[0].status_code == 502


def test_its_certificate_is_of_the_pools_ca_and_for_its_hosts(ca, tmp_path):
    now = identity.utc_now()
    own = identity.temporary(tmp_path, ["gate.example"], now, now + identity.SERVER_LIFE)
    (tmp_path / "own.pem").write_bytes(own.key + own.chain)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tmp_path / "own.pem")
    assert not (tmp_path / "tls.crt").exists()
