"""The dashboard of a running server: who sees what, who is let in, and what it does to the pool: nothing."""

import http.client
import json
import logging
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.access import authorise
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Refused
from genepool_server import config
from genepool_server.dashboard.listener import Dashboard
from genepool_server.dashboard.logins import LINK_SECONDS
from genepool_server.dashboard.pages import COOKIE, PAGES
from genepool_server.pool.pool import OpenPool
from tests.support import sites
from tests.support.server import TIMEOUT, command, new_pool, operate_link, pool_server, serving, wait_until

MARKUP = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>"
TURNED = "safe\u202egnihton\x1b[2J"
SECRETS = ("Apache-2.0", "held by the screens", "scriptkit")
"""Of licence, review and manifest, which no visitor may see."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool in which every state and hostile texts can be seen."""
    place = new_pool(tmp_path_factory.mktemp("seen") / "pool", admission="manual", dashboard={"listen": "0"})
    rng = np.random.default_rng(7)
    with OpenPool.open(place, automatic=False) as pool:
        north, south = sites.join(pool, "north"), sites.join(pool, "south")
        weights = [sites.weights_of(pool.blueprint("tiny-16").blueprint, rng) for _ in range(4)]
        training = sites.manifest_for(pool.blueprint("tiny-16").blueprint).training
        hostile = training.model_copy(update={"software": f"scriptkit {MARKUP}"[:64]})
        packs = [(north, {"training": hostile}), (south, {"license": "Apache-2.0"}), (north, {}), (south, {})]
        ids = [
            sites.submit(pool, site.pack(pool, raw, **changes)).contribution_id
            for (site, changes), raw in zip(packs, weights, strict=True)
        ]
        pool.contributions.decide(ids[0], "ACTIVE", f"held by the screens {MARKUP} {TURNED}")
        pool.contributions.decide(ids[1], "ACTIVE", "held by the screens")
        pool.contributions.decide(ids[2], "REJECTED", MARKUP)
        pool.contributions.withdraw_as_operator(ids[2], "no longer wanted <b>")
        sites.enrol(pool, sites.Contributor("west"))
    with sqlite3.connect(place / "ledger.sqlite") as ledger:  # names and licences have forms; a ledger may be broken
        ledger.execute("UPDATE contribution SET license = ? WHERE contribution_id = ?", (MARKUP, ids[3]))
    ledger.close()
    return place


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as running:
        yield running


class Browser:
    """Asks a dashboard, with the cookies it was given; nothing is followed."""

    def __init__(self, url: str) -> None:
        self.place = urlsplit(url).netloc
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, method: str = "GET", **headers: str):
        """Status, headers and text."""
        connection = http.client.HTTPConnection(self.place, timeout=30)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, headers={"Host": self.place, **headers})
            response = connection.getresponse()
            for cookie in response.headers.get_all("set-cookie", []):
                name, _, rest = cookie.partition("=")
                self.cookies[name] = rest.partition(";")[0]
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def text(self, path: str) -> str:
        status, _, body = self.ask(path)
        assert status == 200, (path, status, body)
        return body


def link(server) -> str:
    """The path of a fresh link, as an operator's command gives it."""
    url = operate_link(server.folder)
    assert url.startswith(server.dashboard)
    return urlsplit(url).path


@pytest.fixture
def visitor(server):
    return Browser(server.dashboard)


@pytest.fixture(scope="module")
def operator(server):
    browser = Browser(server.dashboard)
    status, headers, _ = browser.ask(link(server), "POST")
    assert (status, headers["location"]) == (303, "/")
    return browser


def paths(pool: OpenPool, *, operators: bool) -> list[str]:
    """Every address of the pages that are for operators, or for everybody."""
    contribution = pool.contributions.all()[0].contribution_id
    filled = []
    for path, (_, reads) in PAGES.items():
        try:
            for method in reads:
                authorise(method, frozenset(), certified=False)
            closed = False
        except Refused:
            closed = True
        if closed == operators:
            filled.append(path.replace("{index}", "0").replace("{id}", contribution))
    return filled


# -- who sees what -----------------------------------------------------------------------------------------------------


def test_a_visitor_sees_what_everybody_may_read(visitor, server):
    assert "tiny-16" in visitor.text("/")
    entry = visitor.text(f"/log/{server.pool.contributions.all()[0].log_index}")
    assert "accepted" in entry
    assert "state now" in entry
    assert len(paths(server.pool, operators=False)) == 4
    for path in paths(server.pool, operators=False):
        body = visitor.text(path)
        assert not [secret for secret in SECRETS if secret in body], path


def test_attack_a_page_for_operators_is_closed_to_others(visitor, server):
    assert len(paths(server.pool, operators=True)) == 8
    for path in [*paths(server.pool, operators=True), "/contributions/" + "0" * 64, "/map?blueprint=x"]:
        for cookie in ("", "x", "a" * 43):
            visitor.cookies = {COOKIE: cookie} if cookie else {}
            status, _, body = visitor.ask(path)
            assert status == 403, path
            assert not [secret for secret in (*SECRETS, "south") if secret in body], path


def test_an_operator_sees_sites_contributions_map_and_health(operator, server):
    overview = operator.text("/")
    assert "1 wait for approval" in overview
    listed = operator.text("/sites")
    for site in server.pool.sites.all():
        assert site.name in listed
        assert site.state.lower() in listed
    assert operator.text("/contributions?state=ACTIVE").count("<tr>") == 1 + 2
    assert "Nothing" not in operator.text("/activity")
    assert "no longer wanted" in operator.text("/activity")
    assert "free on the disk" in operator.text("/health")
    subject = server.pool.contributions.all()[1]
    page = operator.text(f"/contributions/{subject.contribution_id}")
    for text in ("Apache-2.0", "held by the screens", "tiny-16", f"/log/{subject.log_index}"):
        assert text in page


def test_the_map_is_a_drawing_and_a_table(operator):
    status, headers, drawn = operator.ask("/map.svg")
    assert (status, headers["content-type"]) == (200, "image/svg+xml")
    assert "north" in drawn
    assert "south" in drawn
    assert operator.text("/map").count('<th scope="row">') == 2
    assert operator.ask("/activity.svg")[0] == 200


def test_what_is_not_there_is_told_and_numbers_are_numbers(operator, visitor):
    assert visitor.ask("/log/999")[0] == 404
    assert visitor.ask("/log/x")[0] == 400
    assert visitor.ask("/log?before=-1")[0] == 400
    assert visitor.ask("/nothing")[0] == 404
    assert operator.ask("/contributions/" + "0" * 64)[0] == 404
    assert operator.ask("/map?blueprint=nothing")[0] == 404


# -- texts of others ---------------------------------------------------------------------------------------------------


def test_attack_markup_of_a_site_is_text(operator, visitor, server):
    pages = {path: operator.text(path) for path in paths(server.pool, operators=True)}
    pages |= {path: visitor.text(path) for path in paths(server.pool, operators=False) if not path.endswith("json")}
    for contribution in server.pool.contributions.all():
        for path in (f"/contributions/{contribution.contribution_id}", f"/log/{contribution.log_index}"):
            pages[path] = operator.text(path)
    pages["site"] = operator.text("/contributions?site=%22%3E%3Cscript%3E&state=%22%3E%3Cscript%3E")
    shown = "".join(pages.values())
    for sign in ("<script", "<img src=x", "<b>", "\u202e", "\x1b", "onerror=alert(2)>"):
        assert sign not in shown, sign
    assert "&lt;script&gt;alert(1)" in shown
    assert "\\u202e" in shown


# -- logging in --------------------------------------------------------------------------------------------------------


def test_attack_a_link_logs_in_once(server, visitor):
    path = link(server)
    assert visitor.ask(path)[0] == 200
    assert visitor.cookies == {}  # to look at it is not to use it
    status, headers, _ = visitor.ask(path, "POST")
    assert status == 303
    cookie = headers["set-cookie"].lower()
    for attribute in ("httponly", "samesite=strict", "path=/", "max-age="):
        assert attribute in cookie
    assert visitor.ask("/sites")[0] == 200
    second = Browser(server.dashboard)
    assert second.ask(path)[0] == 403
    assert second.ask(path, "POST")[0] == 403
    assert second.cookies == {}
    visitor.ask("/logout", "POST")
    assert visitor.ask("/sites")[0] == 403


def test_attack_a_form_of_another_site_logs_nobody_in_or_out(server, operator, visitor):
    path = link(server)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert visitor.ask(path, "POST", **headers)[0] == 403
        assert operator.ask("/logout", "POST", **headers)[0] == 403
    assert operator.ask("/sites")[0] == 200
    assert visitor.ask(path, "POST", Origin=f"http://{visitor.place}")[0] == 303


def test_a_session_does_not_survive_the_server(tmp_path):
    folder = new_pool(tmp_path / "pool", dashboard={"listen": "0"})
    browser = None
    for status in (200, 403):
        with serving(folder) as running:
            if browser is None:
                browser = Browser(running.dashboard)
                browser.ask(link(running), "POST")
            browser.place = urlsplit(running.dashboard).netloc
            assert browser.ask("/health")[0] == status


def test_the_operators_command_prints_the_link(server):
    done = command("dashboard", "link", server.folder, "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["seconds"] == LINK_SECONDS
    assert Browser(server.dashboard).ask(urlsplit(value["url"]).path, "POST")[0] == 303


def test_without_a_dashboard_there_is_no_link(tmp_path):
    with pool_server(tmp_path) as running:
        assert running.dashboard == ""
        done = command("dashboard", "link", running.folder)
    assert (done.returncode, done.stderr.split(")")[0]) == (6, "error (DASHBOARD_OFF")
    done = command("dashboard", "link", tmp_path / "pool")
    assert (done.returncode, done.stderr.split(")")[0]) == (5, "error (POOL_UNREACHABLE")


def test_nobody_is_logged_in_over_a_network_without_tls():
    everywhere = Dashboard("0.0.0.0:0")
    with pytest.raises(Refused) as refused:
        everywhere.link()
    everywhere.close()
    assert refused.value.reason == "DASHBOARD_OFF"
    behind = Dashboard("0.0.0.0:0", "https://seen.example")
    assert behind.link()[0].startswith("https://seen.example/login/")
    assert behind._hosts() == {f"0.0.0.0:{behind._port}", "seen.example"}
    behind.close()


@pytest.mark.parametrize("settings", [{"listen": "x"}, {"url": "http://seen.example"}, {"url": "https://a/b"}])
def test_a_senseless_setting_is_refused(settings):
    with pytest.raises(InvalidInput) as refused:
        config.parse({"dashboard": settings}, "the test")
    assert refused.value.reason == "CONFIG_INVALID"


# -- names, headers, methods -------------------------------------------------------------------------------------------


def test_attack_under_another_name_there_is_nothing(visitor, operator, server):
    port = visitor.place.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        status, _, body = operator.ask("/", Host=host)
        assert status == 421, host
        assert server.pool.origin not in body
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        assert visitor.ask("/", Host=host)[0] == 200


def test_every_answer_has_the_headers_of_a_careful_site(visitor, operator):
    for path in ("/", "/nothing", "/sites", "/log/0/proof.json", "/dashboard.css"):
        _, headers, _ = operator.ask(path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
    assert operator.ask("/sites")[1]["cache-control"] == "no-store"
    assert "sandbox" in operator.ask("/map.svg")[1]["content-security-policy"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_pages_are_read_and_nothing_else(operator, method):
    assert operator.ask("/sites", method)[0] == 405


# -- proofs ------------------------------------------------------------------------------------------------------------


def test_the_program_of_the_manual_checks_a_proof_with_pythons_own_library(visitor, server, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "dashboard.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "check.py").write_text(program)
    for index in (0, server.pool.log.size - 1):
        proof = visitor.text(f"/log/{index}/proof.json")
        value = json.loads(proof)
        altered = {**value, "leaf": value["statement"]}
        moved = {**value, "index": 1}
        for name, content, code in (("good", value, 0), ("altered", altered, 1), ("moved", moved, 1)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
            done = subprocess.run([sys.executable, "-I", "check.py", f"{name}.json"], cwd=tmp_path, check=False)
            assert done.returncode == code, (index, name)


# -- the pool goes on --------------------------------------------------------------------------------------------------


@contextmanager
def silenced(name):
    logging.getLogger(name).disabled = True
    yield
    logging.getLogger(name).disabled = False


def test_a_page_that_fails_says_nothing_of_why_and_the_pool_goes_on(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "pool")
    with serving(place) as running:
        browser = Browser(running.dashboard)
        browser.ask(link(running), "POST")
        active = [one for one in running.pool.contributions.all() if one.state == "ACTIVE"]
        active[0].path.chmod(0o600)
        active[0].path.write_bytes(b"rotten")
        with silenced("genepool_server.dashboard.pages"):
            status, _, body = browser.ask("/map")
        assert status == 500
        assert str(tmp_path) not in body
        assert active[0].path.name not in body
        assert browser.ask("/contributions")[0] == 200
        with running.stubs() as stubs:
            assert stubs.log.GetCheckpoint(pool_pb2.GetCheckpointRequest(), timeout=TIMEOUT).checkpoint


def is_cut(connection: socket.socket) -> bool:
    """Whether the other end has closed a connection on which nothing was ever said."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_silent_and_many_connections_leave_the_pool_alone(server, visitor):
    address = visitor.place.rpartition(":")
    crowd = [socket.create_connection((address[0], int(address[2]))) for _ in range(64)]
    try:
        with server.stubs() as stubs:
            answer = stubs.log.GetCheckpoint(pool_pb2.GetCheckpointRequest(), timeout=TIMEOUT)
        assert answer.checkpoint
        cut: set[int] = set()

        def those_too_many() -> bool:
            cut.update(place for place, connection in enumerate(crowd) if is_cut(connection))
            return len(cut) >= 24

        assert wait_until(those_too_many, 20)
        assert len(cut) <= 40  # the others end by themselves
    finally:
        for one in crowd:
            one.close()
    assert visitor.ask("/")[0] in (200, 503)


def test_a_taken_port_is_told_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder = new_pool(tmp_path / "pool", dashboard={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        with pytest.raises(GenepoolError) as refused, serving(folder):
            pass
    assert refused.value.reason == "PORT_IN_USE"
