"""One port for everything: who is led where, whose address counts, and how much one address may hold."""

import socket
import ssl
from datetime import timedelta

import grpc
import httpx
import pytest

from genepool_protocol.machine.processes import free_port
from genepool_protocol.v1 import consume_pb2, pool_pb2
from genepool_protocol.wire.versions import API_VERSION
from genepool_server import config
from genepool_server.campaign.gate import FleetGate
from genepool_server.net import Address
from genepool_server.tls import identity
from tests.integration.server.wire import WireSite, refused
from tests.integration.site.proxy import Proxy
from tests.support.server import TIMEOUT, Server, Stubs, channel, pool_server, wait_until

CAPABILITIES = pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION)
EACH = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    entrance = {"listen": "127.0.0.1:0", "connections_each": EACH, "gate": f"127.0.0.1:{free_port()}"}
    serving = {"first_seconds": 1.0}
    with pool_server(tmp_path_factory.mktemp("entrance"), entrance=entrance, serving=serving) as running:
        yield running


@pytest.fixture
def stubs(server):
    with server.stubs() as opened:
        yield opened


def knock(server: Server) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), TIMEOUT)


def certified(site: WireSite) -> tuple[str, grpc.Channel]:
    """The name that certified clients ask for, and a channel of the site under it."""
    name = site.strange.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT).certified_name
    key, anchors = site.contributor.tls, site.server.anchors
    credentials = grpc.ssl_channel_credentials(anchors.ca_pem.encode(), key.pem(), site.chain)
    return name, grpc.secure_channel(anchors.address, credentials, options=[("grpc.ssl_target_name_override", name)])


def test_certificates_are_shown_on_the_same_port_under_another_name(server, new_site, rng):
    site = new_site().join()
    name, opened = certified(site)
    assert name == "sites.genepool.internal"  # the pool has an address and no name
    with opened:
        site.stubs = Stubs(opened)
        contribution_id = site.contribute(rng).contribution_id
    assert server.pool.contributions.get(contribution_id).site == site.name


def test_who_comes_by_another_port_is_told_that_port(new_site):
    site = new_site().join()  # whose stubs go to the port where certificates are asked for
    direct = site.stubs.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT)
    assert (direct.certified_name, direct.certified_port > 0) == ("", True)


def ended(connection: socket.socket, seconds: float = TIMEOUT) -> bool:
    """Whether the server ends the connection in that time."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
def test_who_says_something_else_too_little_or_nothing_is_shown_out(server, said):
    with knock(server) as stranger:
        stranger.sendall(said)
        assert ended(stranger)


def test_without_a_campaign_flower_finds_nobody(server):
    context = ssl.create_default_context(cadata=server.anchors.ca_pem)
    with knock(server) as plain, pytest.raises((ssl.SSLError, ConnectionResetError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_one_address_has_so_many_connections_and_their_places_come_back(server):
    def full() -> bool:
        with knock(server) as another:
            return ended(another, 0.2)

    held = [knock(server) for _ in range(EACH)]
    assert wait_until(full, 0.8)  # before those that are held are shown out
    for connection in held:
        connection.close()
    assert wait_until(lambda: not full())


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", "CERT_REQUIRED"),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 56324 443\r\n", "OPTION_INVALID"),
        (b"", "POOL_UNTRUSTED"),  # a client that goes past the proxy
    ],
)
def test_behind_a_proxy_a_program_of_this_machine_is_who_the_proxy_says(behind, greeting, reason):
    host, _, port = behind.address.rpartition(":")
    proxy = Proxy((host, int(port)), greeting)
    try:
        with channel(behind.anchors.model_copy(update={"address": f"{host}:{proxy.port}"})) as opened:
            request = consume_pb2.DescendRequest(blueprint="none")
            assert refused(Stubs(opened).descend.Descend, request).reason == reason
    finally:
        proxy.close()


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """A pool whose clients come by a proxy of its own machine."""
    entrance = {"listen": "127.0.0.1:0", "proxies": ["127.0.0.0/8"]}
    with pool_server(tmp_path_factory.mktemp("behind"), entrance=entrance) as running:
        yield running


def test_flower_is_led_to_the_gate_of_a_campaign(server):
    keys = server.folder / "keys"
    names = identity.temporary(keys, ["127.0.0.1"], identity.utc_now(), identity.utc_now() + timedelta(hours=1))
    (keys / "gate.pem").write_bytes(names.key)
    (keys / "gate.crt").write_bytes(names.chain)
    settings = config.load(server.folder).entrance
    files = {"ca": keys / "ca.crt", "key": keys / "gate.pem", "chain": keys / "gate.crt"}
    with FleetGate(Address.parse(settings.gate), "127.0.0.1:1", **files):
        trusted = ssl.create_default_context(cafile=keys / "ca.crt")
        with httpx.Client(base_url=f"https://{server.address}", verify=trusted, trust_env=False) as node:
            assert node.post("/v1/control/list-runs").status_code == 404
            assert node.post("/v1/fleet/pull-messages").status_code == 502  # the gate, whose SuperLink is away
