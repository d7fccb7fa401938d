"""Why a pool cannot be reached: each cause of the table, by a real server, proxy or name that is so."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from genepool_client.commands.doctor import examine
from genepool_client.transport import proxies
from genepool_client.transport.channel import Connection
from genepool_protocol.trust.anchors import read_anchors
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.tls import certificates, identity
from genepool_server.tls.identity import Identity
from tests.support.connect_proxy import connect_proxy
from tests.support.server import new_pool

NOW = identity.utc_now()
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """A pool's folder, with its CA; nobody serves it."""
    return new_pool(tmp_path_factory.mktemp("pool") / "pool")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "GENEPOOL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def shows(folder: Path, certificate: Identity) -> Iterator[int]:
    """The port of a server on all of loopback that shows a certificate and says nothing more."""
    chain, key = folder / "shown.crt", folder / "shown.pem"
    chain.write_bytes(certificate.chain)
    key.write_bytes(certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("0.0.0.0", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def failure(pool: Path, address: str) -> GenepoolError:
    anchors = read_anchors(pool / "pool.json").model_copy(update={"address": address})
    connection = Connection(anchors, timeout=10, trust=pool / "trust-of-a-client")
    with connection, pytest.raises(GenepoolError) as caught:
        connection.capabilities()
    return caught.value


def authority(folder: Path, title: str) -> Path:
    """A folder of keys with somebody else's CA."""
    folder.mkdir(mode=0o700)
    certificates.create_authority(folder, "ca", title, NOW, 10 * DAY)
    return folder


@pytest.mark.parametrize(
    ("host", "begins", "ends", "reason", "told"),
    [
        ("127.0.0.2", NOW, NOW + DAY, "CERT_OTHER_HOST", "is for far.example, localhost"),
        ("127.0.0.1", NOW + 3 * HOUR, NOW + DAY, "CERT_TOO_EARLY", f"{NOW + 2 * HOUR:%Y-%m-%d %H:%M}"),
        ("127.0.0.1", NOW - 10 * DAY, NOW - DAY, "CERT_TOO_LATE", f"{NOW - DAY:%Y-%m-%d %H:%M}"),
    ],
)
def test_what_is_wrong_with_the_pools_own_certificate_is_named(pool, tmp_path, host, begins, ends, reason, told):
    certificate = identity.temporary(pool / "keys", ["far.example"], begins, ends)
    with shows(tmp_path, certificate) as port:
        error = failure(pool, f"{host}:{port}")
    assert (error.reason, told in error.message) == (reason, True), error.message


def test_who_opens_tls_on_the_way_is_named(pool, tmp_path):
    keys = authority(tmp_path / "keys", "Saint Elsewhere Web Filter")
    with shows(tmp_path, identity.temporary(keys, [], NOW, NOW + DAY)) as port:
        error = failure(pool, f"127.0.0.1:{port}")
    assert (error.reason, "Saint Elsewhere Web Filter" in error.message) == ("TLS_INTERCEPTED", True)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 503 away\r\n\r\n"], ids=["nothing", "no TLS"])
def test_a_gateway_without_a_pool_is_no_wrong_certificate(pool, says):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as caller:
                        caller.sendall(says)

        threading.Thread(target=hang_up, daemon=True).start()
        reason = failure(pool, f"127.0.0.1:{listener.getsockname()[1]}").reason
        listener.shutdown(socket.SHUT_RDWR)
    assert reason == ("POOL_UNTRUSTED" if says else "POOL_UNREACHABLE")


def test_another_pool_is_not_taken_for_a_proxy(pool, tmp_path):
    keys = authority(tmp_path / "keys", "genepool CA")
    with shows(tmp_path, identity.temporary(keys, [], NOW, NOW + DAY)) as port:
        assert failure(pool, f"127.0.0.1:{port}").reason == "POOL_UNTRUSTED"


def test_a_name_that_nobody_knows_is_not_a_pool_that_is_away(pool):
    error = failure(pool, "pool.invalid:443")
    assert (error.reason, "pool.invalid" in error.message) == ("HOST_UNKNOWN", True)
    assert failure(pool, "127.0.0.1:1").reason == "POOL_UNREACHABLE"


@pytest.mark.parametrize("status", [403, 407])
def test_a_proxy_that_refuses_is_named_with_what_it_said(pool, monkeypatch, status):
    with connect_proxy(("127.0.0.1", 1), status) as proxy:
        monkeypatch.setenv("https_proxy", f"http://nurse:secret@{proxy.address}")
        error = failure(pool, "pool.example:443")
    assert (error.reason, proxy.address in error.message, str(status) in error.message) == ("PROXY_REFUSED", True, True)
    assert "secret" not in error.diagnostics()
    assert set(proxy.asked) == {"pool.example:443"}
    assert set(proxy.logins) == {"Basic bnVyc2U6c2VjcmV0"}


def test_a_proxy_that_is_away_is_not_a_pool_that_is_away(pool, monkeypatch):
    monkeypatch.setenv("GENEPOOL_PROXY", "127.0.0.1:1")
    assert failure(pool, "pool.example:443").reason == "PROXY_UNREACHABLE"


def test_the_cause_is_found_behind_a_proxy_too(pool, tmp_path, monkeypatch):
    certificate = identity.temporary(pool / "keys", ["far.example"], NOW, NOW + DAY)
    with shows(tmp_path, certificate) as port, connect_proxy(("127.0.0.1", port)) as proxy:
        monkeypatch.setenv("GENEPOOL_PROXY", f"http://{proxy.address}")
        error = failure(pool, "pool.example:443")
    assert (error.reason, "pool.example" in error.message) == ("CERT_OTHER_HOST", True)


@pytest.mark.parametrize(
    ("settings", "host", "proxy"),
    [
        ({"https_proxy": "http://a:1"}, "pool.example", "http://a:1"),
        ({"http_proxy": "http://a:1"}, "pool.example", "http://a:1"),
        ({"GENEPOOL_PROXY": "b:2", "https_proxy": "http://a:1"}, "pool.example", "http://b:2"),
        ({"GENEPOOL_PROXY": "", "https_proxy": "http://a:1"}, "pool.example", ""),
        ({"https_proxy": "http://a:1", "no_proxy": ".example"}, "pool.example", ""),
        ({"https_proxy": "http://a:1", "no_proxy": "other.example"}, "pool.example", "http://a:1"),
        *(({"https_proxy": "http://a:1"}, host, "") for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1")),
        ({}, "pool.example", ""),
    ],
)
def test_which_proxy_is_asked(monkeypatch, settings, host, proxy):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert proxies.proxy_for(host) == proxy


@pytest.mark.parametrize("proxy", ["socks5://a:1", "http://", "http://a:port", "https://a:1"])
def test_what_is_no_http_proxy_is_refused_by_the_name_of_the_variable(monkeypatch, proxy):
    monkeypatch.setenv("GENEPOOL_PROXY", proxy)
    with pytest.raises(GenepoolError) as caught:
        proxies.proxy_for("pool.example")
    assert (caught.value.reason, "GENEPOOL_PROXY" in caught.value.fix) == ("OPTION_INVALID", True)


def test_doctor_does_not_find_a_clock_good_that_the_pools_certificate_contradicts(pool, tmp_path):
    path = tmp_path / "pool.json"
    with shows(tmp_path, identity.temporary(pool / "keys", [], NOW + 3 * HOUR, NOW + DAY)) as port:
        anchors = read_anchors(pool / "pool.json").model_copy(update={"address": f"127.0.0.1:{port}"})
        path.write_text(anchors.model_dump_json(by_alias=True))
        findings = {finding.check: finding for finding in examine(["consumer"], str(path))}
    assert (findings["clock"].ok, "set the clock" in findings["clock"].fix) == (False, True)
    assert findings["proxy"].found == "none is asked for 127.0.0.1"
