"""Stage A: distances that no claim shortens, one place a site, and ties that nobody can grind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.selection import combination, tals
from genepool_protocol.selection.retrieval import Member, retrieve


def embedding(value, noise=0.0, width=64):
    return Embedding(np.full(width, value, np.float32), noise)


TASK = embedding(0.0)


def test_retrieval_keeps_the_nearest():
    members = [
        Member("b", embedding(1)),
        Member("c", embedding(3)),
        Member("a", embedding(1)),
        Member("d", embedding(0)),
    ]
    assert [name for name, _ in retrieve(TASK, members, 3)] == ["d", "a", "b"]
    assert [name for name, _ in retrieve(TASK, members[::-1], 3)] == ["d", "a", "b"]
    assert dict(retrieve(TASK, members, 4))["c"] == pytest.approx(3.0)


@given(st.floats(0, 1e6), st.floats(0, 5))
def test_attack_74_no_claim_of_noise_makes_a_learngene_nearer(noise, value):
    exact = retrieve(TASK, [Member("a", embedding(value))], 1)
    assert retrieve(TASK, [Member("a", embedding(value, noise))], 1) == exact


def test_attack_74_an_embedding_of_zeros_with_one_claimed_image_gets_no_weight():
    """It had weight 700 wherever it was asked: its noise of 64.8 was taken off every distance."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        task = Embedding((1.2 * rng.standard_normal(64)).astype(np.float32))
        owner = Member("b", Embedding((task.mean + 0.3).astype(np.float32), 0.09), "owner", 1)
        liar = Member("a", Embedding(np.zeros(64, np.float32), 64.8), "liar", 0)
        answer = tals.select(task, [liar, owner], None, labels=None)
        assert answer.weights == (("b", 700),)


def test_attack_75_copies_of_an_embedding_come_after_their_owner_whatever_their_ids():
    owner = Member("f" * 64, embedding(0.3), "owner", 5)
    copies = [Member(f"{at:064x}", embedding(0.3), f"thief-{at}", 6 + at) for at in range(3)]
    assert retrieve(TASK, [*copies, owner], 4)[0][0] == owner.contribution_id
    weights = dict(tals.select(TASK, [*copies, owner], None, labels=None).weights)
    assert weights[owner.contribution_id] == max(weights.values())


def test_attack_75_a_site_has_one_place_however_often_it_contributes():
    greedy = [Member(f"{at:064x}", embedding(0.2), "greedy", at) for at in range(70)]
    other = Member("e" * 64, embedding(0.25), "other", 70)
    found = retrieve(TASK, [*greedy, other], 64)
    assert [name for name, _ in found] == ["0" * 64, "e" * 64]
    weights = dict(tals.select(TASK, [*greedy, other], None, labels=None).weights)
    assert len(weights) == 2


def test_a_site_is_represented_by_its_nearest_learngene():
    members = [Member("a", embedding(0.9), "one", 0), Member("b", embedding(0.1), "one", 1)]
    assert [name for name, _ in retrieve(TASK, members, 5)] == ["b"]


def test_a_mixture_by_nearness_keeps_the_order_that_retrieval_gave():
    weights = dict(combination.by_nearness([(name, 0.3) for name in "dcba"]))
    assert set(weights) == {"d", "c", "b"}
