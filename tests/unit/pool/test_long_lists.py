"""A pool of 100,000 rows: every answer that grows is read in pages, each of them bounded."""

import tracemalloc

import pytest
from sqlalchemy import insert

from genepool_protocol.trust import envelope, events
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.services import pages
from genepool_server.pool.rows import contribution_rows, withdrawal_rows
from genepool_server.pool.store import schema
from genepool_server.records import Descended
from tests.support import sites as c

MANY = 100_000
DAY = "2026-07-01"


def digest(number: int) -> str:
    return f"{number:064x}"


def descended(pool, name: str, count: int) -> None:
    """So many descendants of a contribution, in bulk."""
    with pool.contributions.ledger.write() as tx:
        rows = {"blueprint": c.BLUEPRINT, "size": "2,2", "times": 1, "first": DAY, "last": DAY}
        tx.execute(insert(schema.descendant), [{"sha256": digest(2 * n)} | rows for n in range(count)])
        tx.execute(
            insert(schema.member), [{"descendant": digest(2 * n), "contribution_id": name} for n in range(count)]
        )


def signed(place, name: str) -> bytes:
    found = place.pool.contributions.get(name)
    event = events.Withdrawal(
        pool=place.pool.origin, time="2026-07-01T12:00:00Z", contribution_id=name, sha256=found.sha256
    )
    return envelope.sign_statement(place.a.key, event.payload())


@pytest.mark.slow
def test_a_popular_learngene_is_withdrawn_with_an_answer_and_its_descendants_come_in_pages(place):
    name = place.contribute().contribution_id
    descended(place.pool, name, MANY)
    bundle = signed(place, name)
    done = place.withdrawals.withdraw(bundle)
    answer = pb.WithdrawResponse(receipt=done.receipt, descendant_count=done.descendants)
    assert (done.descendants, answer.ByteSize() < 64 << 10) == (MANY, True)
    assert place.withdrawals.withdraw(bundle) == done
    seen, token = [], ""
    while True:
        page = pages.page(place.withdrawals.descendants(bundle, pages.after(token), LIMITS.page_rows))
        assert page.ByteSize() <= LIMITS.message_bytes
        assert len(page.descendants) <= LIMITS.page_rows
        seen += [one.sha256 for one in page.descendants]
        token = page.page_token
        if not token:
            break
    assert seen == [digest(2 * number) for number in range(MANY)]


def test_pages_are_cut_by_bytes_too_and_go_on_behind_the_last_row():
    rows = [Descended(digest(n), c.BLUEPRINT, "2,2", tuple(digest(m) for m in range(64))) for n in range(1024)]
    page = pages.page(rows)
    assert page.ByteSize() <= LIMITS.message_bytes
    assert 0 < len(page.descendants) < 1024
    assert pages.after(page.page_token) == page.descendants[-1].sha256


def test_a_row_that_comes_meanwhile_neither_hides_nor_repeats_another(place):
    name = place.contribute().contribution_id
    descended(place.pool, name, 600)
    walk = place.pool.contributions.descendants.of(name)
    first = [next(walk).sha256 for _ in range(256)]
    for number in (5, 1001):  # one before the place that was reached, one behind it
        place.pool.contributions.descendants.release(Descended(digest(number), c.BLUEPRINT, "2,2", (name,)))
    rest = [made.sha256 for made in walk]
    assert first + rest == sorted([*(digest(2 * number) for number in range(600)), digest(1001)])


def test_the_same_descendant_is_one_row_and_beyond_the_limit_a_size_is_one_row(place):
    name = place.contribute().contribution_id
    with place.pool.contributions.ledger.write() as tx:
        for number in (1, 1, 2, 3, 4, 4, 1):
            made = Descended(digest(number), c.BLUEPRINT, "2,2", (name,))
            withdrawal_rows.add_descendant(tx, made, DAY, 2)
    rows = list(place.pool.contributions.descendants.of(name))
    assert [(row.sha256, row.count) for row in rows] == [(digest(1), 3), (digest(2), 1), ("", 3)]
    assert place.withdrawals.withdraw(signed(place, name)).descendants == 3


def test_a_lost_answer_is_given_again_whatever_became_of_the_site(place):
    bundle = signed(place, place.contribute().contribution_id)
    done = place.withdrawals.withdraw(bundle)
    place.pool.sites.revoke("site-a")
    assert place.withdrawals.withdraw(bundle) == done


@pytest.fixture
def crowd(place):
    """A pool with 100,000 contributions, all but one of them copied rows."""
    place.contribute()
    with place.pool.contributions.ledger.write() as tx:
        row = dict(contribution_rows.raw(tx)[0]._mapping)
        leaf = {"body": b"x", "payload": b"x", "hash": b"x" * 32}
        tx.execute(insert(schema.leaf), [{"log_index": 1000 + n} | leaf for n in range(MANY)])
        tx.execute(
            insert(schema.contribution),
            [
                row
                | {name: digest(n) for name in ("contribution_id", "sha256", "tensor_digest", "nonce")}
                | {"seq": n + 2, "log_index": 1000 + n, "manifest": b"{}", "receipt": b"{}"}
                for n in range(MANY)
            ],
        )
    return place


@pytest.mark.slow
def test_a_hundred_thousand_contributions_are_listed_within_bounded_memory(crowd, monkeypatch):
    monkeypatch.setattr(type(crowd.pool.log), "size", 1 << 40)  # the copied rows lie beyond the real log
    tracemalloc.start()
    count = sum(1 for _ in crowd.pool.contributions.each(brief=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == MANY + 1
    assert peak < 16 << 20, f"{peak >> 20} MiB"
    assert [one.contribution_id for one in crowd.pool.contributions.each(digest(7))] == [digest(7)]
    assert crowd.pool.contributions.active_count(crowd.pool.blueprint(c.BLUEPRINT).blueprint) == MANY + 1
    first = crowd.pool.contributions.active_page(crowd.pool.blueprint(c.BLUEPRINT).blueprint, (), digest(9), 2)
    assert [one.contribution_id for one in first] == [digest(10), digest(11)]
