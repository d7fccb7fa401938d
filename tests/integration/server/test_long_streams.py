"""A pool of 20,000 rows, served: every stream comes whole, in small messages, and the server's memory stays as it is.

The rows are copies of real ones, written in bulk; TLS, the operator's socket and the services are the real ones.
"""

import ctypes
import gc

import grpc
import numpy as np
import psutil
import pytest
from sqlalchemy import func, insert, select

from genepool_protocol.machine.operator_door import running
from genepool_protocol.v1 import consume_pb2 as consume
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.v1 import operator_pb2_grpc
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.store import registry_schema, schema
from tests.integration.server.wire import WireSite
from tests.support import sites as c
from tests.support.server import pool_server

MANY = 20_000
SECONDS = 300.0
ROOM = 10 << 20
"""Bytes that the whole process, client and server, may grow by while a stream is read; the rows have ten times that."""
DAY = "2026-07-01"

pytestmark = pytest.mark.slow


def digest(number: int) -> str:
    return f"{number:064x}"


def bulk(tx, table, rows) -> None:
    """Many rows, without holding them all."""
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == 5000:
            tx.execute(insert(table), batch)
            batch.clear()
    if batch:
        tx.execute(insert(table), batch)


def copied_sites(tx, name: str) -> None:
    """Sites that have enrolled: with a signing key, a certificate and a role."""
    key = dict(tx.execute(select(schema.signing_key).where(schema.signing_key.c.site == name)).one()._mapping)
    tls = dict(tx.execute(select(registry_schema.tls_key).where(registry_schema.tls_key.c.site == name)).one()._mapping)
    names = [f"copy-{number:06d}" for number in range(MANY)]
    bulk(tx, schema.site, ({"name": one, "state": "ACTIVE"} for one in names))
    keys = ({"keyid": digest(n), "hint": digest(n), "site": one} for n, one in enumerate(names))
    bulk(tx, schema.signing_key, (key | own for own in keys))
    bulk(tx, registry_schema.tls_key, (tls | {"keyid": digest(n), "site": one} for n, one in enumerate(names)))
    bulk(tx, registry_schema.site_role, ({"site": one, "role": "consumer"} for one in names))


def copied_contributions(tx, contribution_id: str) -> None:
    """Active contributions of one site, each with the manifest and receipt of a real one."""
    table = schema.contribution
    row = dict(tx.execute(select(table).where(table.c.contribution_id == contribution_id)).one()._mapping)
    first = tx.execute(select(func.max(schema.leaf.c.log_index))).scalar_one() + 1
    leaf = {"body": b"x", "payload": b"x", "hash": b"x" * 32}
    bulk(tx, schema.leaf, ({"log_index": first + n} | leaf for n in range(MANY)))
    names = ("contribution_id", "sha256", "tensor_digest", "nonce")
    bulk(
        tx,
        table,
        (
            row | dict.fromkeys(names, digest(n)) | {"seq": n + 2, "log_index": first + n, "receipt": b"r" * 500}
            for n in range(MANY)
        ),
    )


def copied_descendants(tx, contribution_id: str) -> None:
    row = {"blueprint": c.BLUEPRINT, "size": "2,2", "times": 1, "first": DAY, "last": DAY}
    bulk(tx, schema.descendant, ({"sha256": digest(n)} | row for n in range(MANY)))
    pairs = ({"descendant": digest(n), "contribution_id": contribution_id} for n in range(MANY))
    bulk(tx, schema.member, pairs)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A served pool with so many rows of everything, and the id of its one real contribution."""
    with pool_server(tmp_path_factory.mktemp("crowded")) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "site-1").join()
        name = site.contribute(np.random.default_rng(1)).contribution_id
        real = server.pool.contributions.get(name)
        table = server.serving._table(server.pool.blueprint(c.BLUEPRINT))
        with server.pool.contributions.ledger.write() as tx:
            copied_sites(tx, "site-1")
            copied_contributions(tx, name)
            copied_descendants(tx, name)
        # the copies have no files: their keys are the real one's, as if they had been read before
        list(stubs.select.ListKeys(consume.ListKeysRequest(blueprint=c.BLUEPRINT), timeout=SECONDS))
        table._rows.update({digest(n): table._rows[real.sha256] for n in range(MANY)})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(server.pool.log), "size", 1 << 40)  # the copied rows lie beyond the real log
            yield server, stubs, name


@pytest.fixture(scope="module")
def operator(crowded):
    path = running(crowded[0].folder)
    with grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)]) as opened:
        yield operator_pb2_grpc.OperatorServiceStub(opened)


def read(messages) -> tuple[int, int, int]:
    """Messages of a stream, bytes of its largest one, and by how many bytes the process grew meanwhile."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what an earlier test freed would hide what this one takes
    process, count, largest = psutil.Process(), 0, 0
    before = most = process.memory_info().rss
    for message in messages:
        count, largest = count + 1, max(largest, message.ByteSize())
        if count % 500 == 0:
            most = max(most, process.memory_info().rss)
    return count, largest, most - before


def check(messages, expected: int) -> None:
    count, largest, growth = read(messages)
    assert count == expected
    assert largest <= LIMITS.message_bytes
    assert growth < ROOM, f"{growth >> 20} MiB"


def test_keys(crowded):
    _, stubs, _ = crowded
    check(stubs.select.ListKeys(consume.ListKeysRequest(blueprint=c.BLUEPRINT), timeout=SECONDS), MANY + 1)


def test_sites(operator):
    check(operator.ListSites(op.ListSitesRequest(), timeout=SECONDS), MANY + 1)


def test_contributions_with_their_evidence(operator):
    check(operator.ListContributions(op.ListContributionsRequest(), timeout=SECONDS), MANY + 1)


def test_contributions_in_brief_and_by_prefix(operator):
    check(operator.ListContributions(op.ListContributionsRequest(brief=True), timeout=SECONDS), MANY + 1)
    request = op.ListContributionsRequest(prefix=digest(7), brief=True)
    check(operator.ListContributions(request, timeout=SECONDS), 1)


def test_descendants(crowded, operator):
    request = op.ListDescendantsRequest(contribution_id=crowded[2])
    check(operator.ListDescendants(request, timeout=SECONDS), MANY)
