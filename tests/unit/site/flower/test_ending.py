"""A node ends when its gate stays away and the pool says that the campaign is over, and for nothing less."""

import http.server
import ssl
import threading
from contextlib import contextmanager

import pytest

from genepool_client.site.flower import ending
from genepool_server.tls import identity


@pytest.fixture
def looks(monkeypatch):
    """Runs the looks of one node: what the gate and the pool say, one after the other; answers how often each spoke."""
    monkeypatch.setattr(ending, "LOOK", 0.0)

    def run(there: str, over: str) -> tuple[int, int]:
        gate, pool, ended, signs = list(there), list(over), [], []
        ending._look(
            lambda: gate.pop(0) == "+",
            lambda: pool.pop(0) == "+",
            lambda: ended.append(True),
            lambda: signs.append(True),
        )
        assert ended == [True]
        assert len(signs) == over.count("-")  # of life, as long as it waits
        return len(there) - len(gate), len(over) - len(pool)

    return run


def test_the_pool_is_asked_when_the_gate_stays_away(looks):
    assert looks("--", "+") == (2, 1)
    assert looks("-+-+--", "+") == (6, 1)  # a look that found nobody is no sign


def test_a_campaign_that_goes_on_is_waited_for(looks, caplog):
    assert looks("-----+--", "----+") == (8, 5)
    assert [record.getMessage() for record in caplog.records].count(
        "the campaign's gate does not answer; this node waits for it"
    ) == 1


@contextmanager
def gate(folder):
    """A server under the pool's CA that answers 502, as a gate without a SuperLink does."""
    now = identity.utc_now()
    own = identity.temporary(folder, ["127.0.0.1"], now, now + identity.SERVER_LIFE)
    (folder / "own.pem").write_bytes(own.key + own.chain)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(502)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "own.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_gate_without_a_superlink_is_there_and_one_of_another_ca_is_not(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir(mode=0o700)
        identity.create_ca(folder, identity.utc_now())
    with gate(own) as address:
        assert ending.answers(address, ssl.create_default_context(cafile=own / "ca.crt"))
        assert not ending.answers(address, ssl.create_default_context(cafile=other / "ca.crt"))
    assert not ending.answers(address, ssl.create_default_context(cafile=own / "ca.crt"))
