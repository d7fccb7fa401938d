"""What was withdrawn does not come back under another name; its owner may, and wins over a foreign copy."""

import sqlite3
import stat

import numpy as np
import pytest

from genepool_server.pool.pool import OpenPool
from genepool_server.pool.rows import sketch_rows
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.pool.upkeep.fsck import examine, fsck
from tests.support import sites as c
from tests.support import spoilers as s
from tests.support.flips import flipped
from tests.support.refusals import reason_of
from tests.unit.pool.contributions.test_withdrawing import signed
from tests.unit.pool.test_review_queue import as_it_is, commit, reviews, state


@pytest.fixture
def quarantine(place):
    place.reopen(automatic=False)
    return place


def withdraw(place, contribution_id, site):
    return place.withdrawals.withdraw(signed(place.pool, contribution_id, site.key))


def variant(blueprint, delta):
    return delta + 0.4 * s.noise(blueprint, delta, 3)


@pytest.fixture
def withdrawn(quarantine):
    """The first contribution was active, and its site took it back."""
    name = commit(quarantine, quarantine.a, as_it_is, 1)
    reviews(quarantine).review_all()
    assert state(quarantine, name) == "ACTIVE"
    withdraw(quarantine, name, quarantine.a)
    return name


@pytest.mark.parametrize("disguise", [s.one_bit_flipped, s.permuted, variant])
def test_attack_withdrawn_weights_do_not_come_back_under_another_name(quarantine, withdrawn, disguise):
    copy = commit(quarantine, quarantine.b, disguise, 1)
    quarantine.reopen(automatic=False)
    reviews(quarantine).review_all()
    found = quarantine.pool.contributions.get(copy)
    assert found.state == "REJECTED", found.note
    assert f"NEAR_COPY: it is too much like the withdrawn contribution {withdrawn[:16]}" in found.note
    assert fsck(quarantine.folder) == []


def test_attack_the_owner_s_later_variant_wins_over_a_foreign_copy_and_the_operator_is_told(quarantine, withdrawn):
    copy = commit(quarantine, quarantine.b, s.one_bit_flipped, 1)
    reviews(quarantine, screening="warn").review_all()
    assert state(quarantine, copy) == "ACTIVE", "as older software admitted it"
    later = commit(quarantine, quarantine.a, variant, 1)
    reviews(quarantine).review_all()
    found, foreign = (quarantine.pool.contributions.get(name) for name in (later, copy))
    assert found.state == "ACTIVE"
    assert found.note.startswith("passed every check, the screens and the canary; FOREIGN_COPY: this site came first")
    assert foreign.state == "ACTIVE", "what becomes of it is the operator's word"
    assert f"FOREIGN_COPY: it is a later copy of what the site of contribution {later[:16]} had first" in foreign.note
    assert fsck(quarantine.folder) == []


def test_what_the_operator_withdrew_waits_for_the_operator_when_its_site_brings_it_again(quarantine):
    name = commit(quarantine, quarantine.a, as_it_is, 1)
    reviews(quarantine).review_all()
    quarantine.pool.contributions.withdraw_as_operator(name, "court order")
    again = commit(quarantine, quarantine.a, s.one_bit_flipped, 1)
    reviews(quarantine).review_all()
    found = quarantine.pool.contributions.get(again)
    assert (found.state, "RETURNED: the operator withdrew" in found.note) == ("QUARANTINED", True)


def rows(place):
    with place.pool.contributions.ledger.read() as tx:
        return sketch_rows.raw(tx)


def test_a_sketch_tells_nothing_to_who_has_the_ledger_without_the_secret(quarantine, withdrawn):
    """It is as long for every learngene, differs each time, and opens for its contribution and this secret alone."""
    (row,) = rows(quarantine)
    secret = ReviewSecret.read(quarantine.folder / "keys" / "review.key")
    sketch = secret.open(withdrawn, row.sealed)
    assert np.linalg.norm(sketch.direction) == pytest.approx(1, abs=1e-3), "not even how long the weights were"
    assert len(row.sealed) == 12 + 2 * 1024 * 4 + 16
    assert secret.seal(withdrawn, sketch) != row.sealed
    assert reason_of(secret.open, "f" * 64, row.sealed) == "LEDGER_INCONSISTENT"
    assert reason_of(ReviewSecret.generate().open, withdrawn, row.sealed) == "LEDGER_INCONSISTENT"
    assert ReviewSecret.generate().salt != secret.salt, "signs that another pool's secret gives are others"
    assert secret.salt not in (quarantine.folder / "ledger.sqlite").read_bytes()


def test_the_secret_is_private_and_a_pool_of_older_software_gets_one_when_it_is_opened(place):
    path = place.folder / "keys" / "review.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_bytes()
    place.pool.close()
    path.unlink()
    assert examine(place.folder).problems == []
    place.reopen()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() != first


def test_a_pool_whose_sketches_nobody_could_open_is_not_opened(quarantine, withdrawn):
    path = quarantine.folder / "keys" / "review.key"
    good = path.read_bytes()
    quarantine.pool.close()
    path.unlink()
    assert reason_of(OpenPool.open, quarantine.folder) == "FILE_MISSING"
    assert [problem.reason for problem in fsck(quarantine.folder)] == ["FILE_MISSING"]
    path.write_bytes(good[::-1])
    path.chmod(0o600)
    assert [problem.reason for problem in fsck(quarantine.folder)] == ["LEDGER_INCONSISTENT"]
    path.write_bytes(good)
    assert fsck(quarantine.folder) == []


@pytest.mark.parametrize("column", ["contribution_id", "sealed", "by_operator"])
def test_fsck_finds_a_sketch_that_was_changed(quarantine, withdrawn, column):
    quarantine.pool.close()
    connection = sqlite3.connect(quarantine.folder / "ledger.sqlite")
    (value,) = connection.execute(f"SELECT {column} FROM sketch").fetchone()
    connection.execute(f"UPDATE sketch SET {column} = ?", (1 - value if column == "by_operator" else flipped(value),))
    connection.commit()
    connection.close()
    assert fsck(quarantine.folder)


def test_fsck_finds_a_sketch_that_is_gone(quarantine, withdrawn):
    quarantine.pool.close()
    connection = sqlite3.connect(quarantine.folder / "ledger.sqlite")
    connection.execute("DELETE FROM sketch")
    connection.commit()
    connection.close()
    assert [problem.reason for problem in fsck(quarantine.folder)] == ["LEDGER_INCONSISTENT"]


def test_weights_that_cannot_be_read_any_more_are_withdrawn_without_a_sketch(quarantine):
    name = commit(quarantine, quarantine.a, as_it_is, 1)
    quarantine.pool.contributions.get(name).path.write_bytes(b"damaged")
    assert withdraw(quarantine, name, quarantine.a).erased
    assert [(row.contribution_id, row.sealed) for row in rows(quarantine)] == [(name, b"")]
    assert fsck(quarantine.folder) == []


def test_attack_no_id_is_good_for_a_place_among_the_judges(place):
    """Judges stand in an order of the pool's secret: the same again, another for each site, and not that of ids."""
    random = np.random.default_rng(5)
    sites = [place.a, place.b, *(c.join(place.pool, f"site-{n}") for n in range(6))]
    done = [c.contribute(place.pool, site, random).contribution_id for site in sites for _ in range(2)]
    orders = {}
    for name in done:
        found = place.pool.contributions.get(name)
        orders.setdefault(found.site, []).append(
            [one.contribution_id for one in place.pool.contributions.company(found).active]
        )
    assert all(first == second for first, second in orders.values()), "trying again does not draw others"
    assert len({tuple(first) for first, _ in orders.values()}) == len(sites)
    assert sorted(done) not in [first for first, _ in orders.values()]
    found = place.pool.contributions.get(done[0])
    place.reopen()
    assert [one.contribution_id for one in place.pool.contributions.company(found).active] == orders[found.site][0]
    (place.folder / "keys" / "review.key").write_bytes(bytes(32))
    place.reopen()
    assert [one.contribution_id for one in place.pool.contributions.company(found).active] != orders[found.site][0]
