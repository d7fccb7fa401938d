"""Stage C: what is proposed, where the walk leads, and that its slopes are those of the error itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.selection import combination, net, tals
from genepool_protocol.selection.combination import FAR
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.scorer import Scorer, slope
from tests.support.genes import random_gene, seed_gene, tiny_blueprint

BLUEPRINT = tiny_blueprint()


class Bowl:
    """An evaluator whose error is a bowl over the weights; every image sees the same."""

    def __init__(self, lowest, wobble=0.0):
        self.lowest, self.wobble = lowest, wobble

    def error(self, weights):
        names = {*weights, *self.lowest}
        return sum((weights.get(name, 0) / 1000 - self.lowest.get(name, 0)) ** 2 for name in names)

    def scores(self, mixtures):
        for mixture in mixtures:
            error = self.error(dict(mixture))
            yield Score(0.5, 0.5, 0.0, tuple(error * (1 + self.wobble * (-1) ** i) for i in range(10)))

    def slopes(self, mixture, ids):
        weights = dict(mixture)
        return [2 * (weights.get(name, 0) / 1000 - self.lowest.get(name, 0)) for name in ids]


def walked(bowl, start=()):
    (score,) = bowl.scores([start])
    return combination.walk(bowl, ["a", "b", "c"], start, score)


def test_the_walk_goes_to_the_mixture_with_the_least_error():
    bowl = Bowl({"a": 0.5, "b": 0.25})
    path = walked(bowl)
    assert [score.errors[0] for _, score in path] == sorted((s.errors[0] for _, s in path), reverse=True)
    weights = dict(path[-1][0])
    assert bowl.error(weights) < 0.02
    assert "c" not in weights
    assert sum(weights.values()) <= 1000


def test_the_walk_stays_where_nothing_helps():
    assert walked(Bowl({})) == []
    assert walked(Bowl({"a": 1.0}), (("a", 1000),)) == []


def test_a_step_that_helps_less_than_its_standard_error_is_not_taken():
    class Noisy(Bowl):
        def scores(self, mixtures):
            for mixture in mixtures:
                error = self.error(dict(mixture))
                yield Score(0.5, 0.5, 0.0, tuple(error + 3 * len(mixture) * (-1) ** i for i in range(10)))

    assert walked(Noisy({"a": 0.5})) == []


def test_where_two_learngenes_help_alike_the_walk_takes_the_nearer_one_whatever_its_id():
    bowl = Bowl({"a": 0.3, "b": 0.3})
    (score,) = bowl.scores([()])
    for ids in ("abc", "bca"):
        (mixture, _), *_ = combination.walk(bowl, list(ids), (), score)
        assert mixture == ((ids[0], 250),)


def test_a_mixture_by_nearness_halves_with_distance():
    found = combination.by_nearness([("b", 0.46), ("a", 0.4), ("c", 0.52), ("d", 0.9)])
    assert found == (("a", 400), ("b", 200), ("c", 100))


@pytest.mark.parametrize("keys", [[("a", 0.4)], [("b", 9.0), ("a", 0.4)], [("a", 0.4), ("b", 0.61)]])
def test_a_key_that_leads_clearly_answers_alone(keys):
    assert combination.by_nearness(keys) == combination.single("a") == (("a", 700),)


@given(st.floats(0, 2), st.floats(0, 2))
def test_trust_falls_with_distance_from_all_to_nothing(one, other):
    near, far = sorted((one, other))
    assert 700 >= combination.trust(near) >= combination.trust(far) >= 0
    assert combination.trust(combination.NEAR) == 700
    assert combination.trust(FAR) == 0


@given(st.lists(st.floats(0, 2), min_size=1, max_size=6))
def test_what_is_mixed_weighs_what_the_nearest_is_trusted_with(distances):
    found = combination.by_nearness([(str(place), distance) for place, distance in enumerate(distances)])
    whole = combination.trust(min(distances))
    assert whole - 2 <= sum(milli for _, milli in found) <= whole


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(3)
    seed = net.as_tensors(seed_gene(BLUEPRINT, rng))
    deltas = {name: net.as_tensors(random_gene(BLUEPRINT, BLUEPRINT.components, rng, np.float16)) for name in "ab"}
    thin = {name: net.as_tensors(tals.thin(BLUEPRINT, delta)) for name, delta in deltas.items()}
    deltas = {name: {key: 0.05 * part for key, part in delta.items()} for name, delta in thin.items()}
    labels = np.repeat([0, 1, 2], 5)
    images = np.clip(rng.integers(0, 160, (15, 16, 16, 3)) + 40 * labels[:, None, None, None], 0, 255).astype(np.uint8)
    return Scorer(BLUEPRINT, seed, images, labels), deltas


def test_slopes_are_the_finite_differences_of_the_error(task):
    """One backward pass says what two scores per learngene would; the sharpness is held, so the steps are small."""
    scorer, deltas = task

    def error(weights):
        return float(np.mean(scorer.score([(milli, deltas[name]) for name, milli in weights.items()]).errors))

    gradient = scorer.gradient([(200, deltas["a"])])
    for name in deltas:
        base = {"a": 200}
        ahead, behind = (error(base | {name: base.get(name, 0) + step}) for step in (20, -20))
        assert slope(gradient, deltas[name]) == pytest.approx((ahead - behind) / 0.04, rel=0.1, abs=2e-3)
