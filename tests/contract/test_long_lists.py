"""The list of a popular learngene's descendants, wherever the ledger is."""

import pytest
from sqlalchemy import insert

from genepool_protocol.trust import envelope, events
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.services import pages
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store import schema
from genepool_server.records import Descended
from tests.support import sites as c

MANY = 100_000
DAY = "2026-07-01"


@pytest.mark.slow
def test_a_hundred_thousand_descendants_come_in_pages_and_the_withdrawal_is_answered(place):
    folder, storage, a, _ = place
    digests = [f"{2 * number:064x}" for number in range(MANY)]
    with OpenPool.open(folder, storage) as pool:
        gone = pool.contributions.all()[0]
        row = {"blueprint": c.BLUEPRINT, "size": "2,2", "times": 1, "first": DAY, "last": DAY}
        with pool.contributions.ledger.write() as tx:
            tx.execute(insert(schema.descendant), [{"sha256": sha256} | row for sha256 in digests])
            tx.execute(
                insert(schema.member),
                [{"descendant": sha256, "contribution_id": gone.contribution_id} for sha256 in digests],
            )
        for size in ("2,2", "3,2", "2,2"):  # beyond the limit: a row for each size
            pool.contributions.descendants.release(
                Descended("f" * 63 + size[0], c.BLUEPRINT, size, (gone.contribution_id,))
            )
        event = events.Withdrawal(
            pool=pool.origin,
            time="2026-07-01T12:00:00Z",
            contribution_id=gone.contribution_id,
            sha256=gone.sha256,
        )
        bundle = envelope.sign_statement(a.key, event.payload())
        assert pool.contributions.withdrawals.withdraw(bundle).descendants == MANY + 2
        seen, token = [], ""
        while not seen or token:
            page = pages.page(pool.contributions.withdrawals.descendants(bundle, pages.after(token), LIMITS.page_rows))
            assert page.ByteSize() <= LIMITS.message_bytes
            seen += [(one.sha256, one.count) for one in page.descendants]
            token = page.page_token
        assert seen == [*((sha256, 1) for sha256 in digests), ("", 2), ("", 1)]
