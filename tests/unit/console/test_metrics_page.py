"""The page for Prometheus: where it may be, and what it does to those who misuse it."""

import contextlib
import socket
import urllib.request
from http.client import RemoteDisconnected
from urllib.error import URLError

import pytest
from prometheus_client import Gauge

from genepool_console.metrics_page import MetricsPage
from genepool_console.page_place import place
from genepool_protocol.wire.errors import GenepoolError


@pytest.fixture
def page():
    page = MetricsPage("0")
    Gauge("genepool_test", "A figure.", registry=page.registry).set(4711)
    page.start()
    yield page
    page.close()
    page.close()


def read(page) -> str:
    with urllib.request.urlopen(f"http://{page.address}/metrics", timeout=10) as response:
        return response.read().decode()


def test_it_shows_figures_on_loopback_unless_a_host_is_named(page):
    assert page.address.startswith("127.0.0.1:")
    assert "genepool_test 4711.0" in read(page)
    assert place("9464", "x") == place(":9464", "x") == ("127.0.0.1", 9464)
    assert place("0.0.0.0:1", "x") == ("0.0.0.0", 1)
    assert place("[::1]:1", "x") == ("[::1]", 1)


@pytest.mark.parametrize("text", ["", "x", "1:", "h:65536", "a b:1", "http://h:1", "\u0663"])
def test_a_senseless_place_is_refused(text):
    with pytest.raises(GenepoolError) as caught:
        place(text, "metrics")
    assert caught.value.reason == "OPTION_INVALID"


def test_a_taken_port_is_told(page):
    with pytest.raises(GenepoolError) as caught:
        MetricsPage(page.address)
    assert caught.value.reason == "PORT_IN_USE"
    with pytest.raises(GenepoolError) as caught:
        MetricsPage("no-such-host.invalid:1")
    assert caught.value.reason == "OPTION_INVALID"


def test_silent_connections_keep_a_place_for_seconds_only_and_meanwhile_the_next_is_cut_off(page):
    host, _, port = page.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.create_connection((host, int(port))))
        with pytest.raises((URLError, ConnectionError, RemoteDisconnected)):
            for _ in range(20):
                read(page)
    assert "genepool_test" in _read_in_time(page)


def _read_in_time(page) -> str:
    for _ in range(100):
        with contextlib.suppress(OSError):
            return read(page)
    raise AssertionError("the page does not answer any more")


def test_a_stranger_who_speaks_no_http_ends_nothing(page):
    host, _, port = page.address.rpartition(":")
    for words in (b"\x16\x03\x01\x00", b"GET " + b"x" * 70_000, b"GET /metrics"):
        with socket.create_connection((host, int(port))) as wire, contextlib.suppress(OSError):
            wire.sendall(words)
    assert "genepool_test" in _read_in_time(page)
