"""A site whose only way out is an HTTP proxy, which knows the pool's name; the site's own machine does not."""

from datetime import UTC, datetime

import pytest

from genepool_client.commands.doctor import examine
from genepool_client.site import credentials, enrolment
from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_json
from genepool_protocol.trust.anchors import Invite
from tests.support.connect_proxy import connect_proxy
from tests.support.server import pool_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    entrance = {"listen": "127.0.0.1:0"}
    with pool_server(tmp_path_factory.mktemp("far"), advertise="pool.invalid", entrance=entrance) as running:
        yield running


@pytest.fixture
def proxy(server, monkeypatch):
    with connect_proxy(("127.0.0.1", int(server.address.rpartition(":")[2]))) as made:
        monkeypatch.setenv("GENEPOOL_PROXY", f"http://{made.address}")
        yield made


@pytest.fixture
def site(server, proxy, tmp_path):
    invited = server.pool.sites.invite("north", datetime.now(UTC))
    values = {"invite_id": invited.invite_id, "secret": invited.secret, "expires": invited.expires}
    path = tmp_path / "invite.json"
    write_json(path, Invite(site="north", anchors=server.anchors, **values).model_dump(by_alias=True))
    made = enrolment.init(tmp_path / "site", enrolment.Setup(invite=path))
    with Connection(made.config.anchors, trust=made.trust) as connection:
        enrolment.enrol(made, connection)
    server.pool.sites.approve("north")
    return made


def test_enrolling_and_showing_a_certificate_ask_the_proxy_for_one_name_and_port(server, proxy, site):
    first = credentials.ready(site)
    assert credentials.renew(site, first).chain != first.chain  # under the certificate
    assert set(proxy.asked) == {server.address}


def test_a_machine_of_ones_own_is_not_asked_of_a_proxy(server, monkeypatch):
    port = server.address.rpartition(":")[2]
    for name in ("http_proxy", "https_proxy", "GENEPOOL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Connection(server.anchors.model_copy(update={"address": f"127.0.0.1:{port}"})) as connection:
        assert connection.capabilities().certified_name == "sites.pool.invalid"


def test_doctor_names_the_way_and_what_is_wrong_with_it(server, proxy, monkeypatch):
    def found() -> dict[str, tuple[bool, str]]:
        path = server.folder / "pool.json"
        return {finding.check.split()[0]: (finding.ok, finding.found) for finding in examine(["consumer"], str(path))}

    assert found()["pool"][0]
    assert found()["proxy"] == (True, f"{proxy.address} leads to pool.invalid")
    monkeypatch.setenv("GENEPOOL_PROXY", "")
    well, text = found()["pool"]
    assert (well, "HOST_UNKNOWN" in text) == (False, True)
    assert found()["proxy"] == (True, "none is asked for pool.invalid")
