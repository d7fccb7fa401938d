"""What a simulation costs, and a network that goes away."""

import socket
import subprocess
import sys
import threading

import pytest

from genepool_client.simulate.meter import CostMeter
from genepool_client.simulate.roles.network import Network

BUSY = "import time; x = bytearray(60_000_000)\nwhile time.process_time() < 1: pass\nprint('done', flush=True); input()"


def test_processor_time_and_memory_of_a_child_are_counted_also_after_it_ended():
    with CostMeter() as meter:
        before = meter.usage()
        with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            during = meter.usage()
            child.communicate(b"\n")
        after = meter.usage()
    assert during.cpu_seconds >= before.cpu_seconds + 1
    assert during.peak_bytes >= before.peak_bytes + 40_000_000
    assert after.cpu_seconds >= during.cpu_seconds
    assert after.peak_bytes >= during.peak_bytes


@pytest.fixture
def echo():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    while data := caller.recv(1000):
                        caller.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def through(network):
    host, _, port = network.address.rpartition(":")
    return socket.create_connection((host, int(port)), 5)


def test_a_network_that_is_gone_breaks_what_is_open_and_lets_nobody_through_until_it_is_back(echo):
    with Network(echo) as network:
        with through(network) as open_one:
            open_one.sendall(b"hello")
            assert open_one.recv(5) == b"hello"
            network.go_away()
            assert open_one.recv(5) == b""
        with through(network) as refused, pytest.raises(ConnectionError):
            assert refused.recv(1) == b""
            raise ConnectionResetError  # closed in order, or reset: both are gone
        network.come_back()
        with through(network) as again:
            again.sendall(b"again")
            assert again.recv(5) == b"again"
        assert network.sent == 10
