"""sd_notify(3): what is said, to whom, and that nothing happens where nobody listens."""

import asyncio
import os
import socket
import time

import pytest

from genepool_protocol.machine.service_manager import ServiceManager
from tests.support.notified import manager


@pytest.fixture
def listening(tmp_path, monkeypatch):
    with manager(tmp_path) as heard:
        for name, value in heard.variables.items():
            monkeypatch.setenv(name, value)
        yield heard


def test_a_manager_hears_ready_alive_and_stopping(listening):
    told = ServiceManager.from_environment()
    assert told.beat == 1.0  # half of what it waits
    told.ready("serving\u00fc")
    told.alive()
    told.stopping()
    assert listening.hears("STATUS=going down")
    assert listening.said == ["READY=1", "STATUS=serving\u00fc", "WATCHDOG=1", "STOPPING=1", "STATUS=going down"]


def test_no_child_can_speak_in_our_name(listening):
    ServiceManager.from_environment()
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}.isdisjoint(os.environ)


@pytest.mark.parametrize(
    ("period", "process"), [("1000000", "1"), ("soon", ""), ("", ""), ("-5", ""), ("0", "")], ids=str
)
def test_without_a_watchdog_of_ours_there_are_no_beats(listening, monkeypatch, period, process):
    monkeypatch.setenv("WATCHDOG_USEC", period)
    monkeypatch.setenv("WATCHDOG_PID", process)
    told = ServiceManager.from_environment()
    assert told.beat == 0.0
    told.alive()
    asyncio.run(asyncio.wait_for(told.keep_alive(), 5))  # ends by itself
    told.stopping()
    assert listening.hears("STOPPING=1")
    assert "WATCHDOG=1" not in listening.said


def test_an_abstract_socket_is_reached():
    name = f"genepool-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(f"\0{name}")
        ServiceManager(f"@{name}").ready("x")
        assert own.recv(99) == b"READY=1\nSTATUS=x"


def test_signs_of_life_do_not_wait_for_a_manager_that_reads_nothing(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(tmp_path / "notify"))
        own.settimeout(5)
        told = ServiceManager(str(tmp_path / "notify"), 2.0)
        before = time.monotonic()
        for _ in range(1000):  # more than a queue takes
            told.alive()
        assert time.monotonic() - before < 60  # each of them would wait for a second
        assert own.recv(99) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@genepool-nobody"])
def test_where_nobody_listens_nothing_happens(address):
    told = ServiceManager(address, 1.0)
    told.ready("x")
    told.alive()
    told.stopping()
