"""Who is at the other end of a loopback connection: the kernel's table says it, or nobody is let in."""

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from genepool_protocol.machine.neighbours import OwnUserOnly, shut_out, user_of
from genepool_protocol.wire.errors import VersionMismatch

ROW = "   1: 0100007F:{client} 0100007F:{server} {state} 00000000:00000000 00:00000000 00000000  {user}        0 99 1"

CLIENT, SERVER = ("127.0.0.1", 0xA001), ("127.0.0.1", 0x1F90)


def row(client="A001", server="1F90", state="01", user=1000) -> str:
    return ROW.format(client=client, server=server, state=state, user=user)


def test_the_clients_row_is_found_among_others():
    rows = [row("1F90", "A001", user=7), row(server="1F91", user=8), row(user=1000)]
    assert user_of(rows, CLIENT, SERVER) == 1000


@pytest.mark.parametrize(
    "rows",
    [[], [row(state="06", user=0)], [row("A002")]],
    ids=["nothing", "a socket that is closed shows user 0", "another port"],
)
def test_a_connection_that_is_not_there_belongs_to_nobody(rows):
    assert user_of(rows, CLIENT, SERVER) is None


@pytest.mark.parametrize("host", ["::1", "localhost", "1.2.3", "1.2.3.999", "a.b.c.d"])
def test_other_addresses_belong_to_nobody(host):
    assert user_of([row()], (host, 0xA001), SERVER) is None


async def answered(app, scope) -> int:
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {}

    await app(scope, receive, send)
    return sent[0]["status"]


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's table is Linux's")
def test_the_kernel_is_asked_about_a_real_connection():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as near, listening.accept()[0] as far:
            scope = {"type": "http", "client": near.getsockname(), "server": far.getsockname()}
            mine, theirs = OwnUserOnly(inner), OwnUserOnly(inner, frozenset({os.getuid() + 1}))
            assert asyncio.run(answered(mine, scope)) == 200
            assert asyncio.run(answered(theirs, scope)) == 403
            assert asyncio.run(answered(mine, {**scope, "type": "websocket"})) == 403
        assert asyncio.run(answered(mine, scope)) == 403


def test_a_flwr_that_makes_its_application_elsewhere_is_refused():
    with pytest.raises(VersionMismatch):
        shut_out(SimpleNamespace(__name__="flwr.somewhere"))
