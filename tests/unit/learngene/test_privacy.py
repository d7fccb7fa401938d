"""The Gaussian mechanism: against its definition, against published figures, and its laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene import privacy

EPSILONS = st.floats(0.01, 50)
DELTAS = st.floats(1e-12, 0.1)
RATIOS = st.floats(1e-3, 20)


@pytest.mark.parametrize(("epsilon", "delta", "noise"), [(1.0, 1e-5, 3.730632), (0.5, 1e-5, 7.031827)])
def test_noise_is_what_the_analytic_mechanism_says(epsilon, delta, noise):
    assert 1 / privacy.ratio_of(epsilon, delta) == pytest.approx(noise, rel=1e-6)


@given(st.floats(0.05, 5), st.floats(0, 5))
def test_delta_is_the_most_that_two_neighbours_can_differ_by_beyond_epsilon(ratio, epsilon):
    x = np.linspace(-12, 12 + ratio, 200_001)
    p, q = (np.exp(-((x - at) ** 2) / 2) / math.sqrt(2 * math.pi) for at in (ratio, 0.0))
    beyond = np.maximum(p - math.exp(epsilon) * q, 0).sum() * (x[1] - x[0])
    assert privacy.delta_of(epsilon, ratio) == pytest.approx(float(beyond), abs=1e-7)


@given(EPSILONS, DELTAS)
def test_the_noise_of_a_budget_costs_that_budget_and_no_less(epsilon, delta):
    ratio = privacy.ratio_of(epsilon, delta)
    assert privacy.delta_of(epsilon, ratio) <= delta
    assert privacy.delta_of(epsilon, ratio * (1 + 1e-6)) > delta * (1 - 1e-9)
    assert privacy.epsilon_of(ratio, delta) == pytest.approx(epsilon, rel=1e-6)


@given(RATIOS, RATIOS, EPSILONS, EPSILONS)
def test_more_noise_and_a_larger_epsilon_never_need_a_larger_delta(one, other, epsilon, more):
    small, large = sorted((one, other))
    assert privacy.delta_of(epsilon, small) <= privacy.delta_of(epsilon, large) + 1e-12
    assert privacy.delta_of(max(epsilon, more), one) <= privacy.delta_of(min(epsilon, more), one) + 1e-12


@given(st.lists(RATIOS, min_size=1, max_size=6), DELTAS)
def test_several_releases_cost_more_than_each_and_less_than_their_sum(ratios, delta):
    total = privacy.epsilon_of(privacy.composed(ratios), delta)
    each = [privacy.epsilon_of(ratio, delta) for ratio in ratios]
    assert total >= max(each) * (1 - 1e-9)
    if len(ratios) > 1:  # basic composition: budgets and deltas add
        spread = [privacy.epsilon_of(ratio, delta / len(ratios)) for ratio in ratios]
        assert total <= sum(spread) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-6), (-1, 1e-6), (1, 0), (1, 1), (math.nan, 1e-6), (1, math.nan)])
def test_what_is_no_budget_is_refused(epsilon, delta):
    with pytest.raises(ValueError, match="no mechanism"):
        privacy.ratio_of(epsilon, delta)


def test_extremes_are_finite():
    for epsilon in (1e-6, 1.0, 1e3, 1e6):
        for ratio in (1e-6, 1.0, 30.0, 1e3, 1e6):
            assert 0 <= privacy.delta_of(epsilon, ratio) <= 1
    assert privacy.epsilon_of(0.0, 1e-6) == 0
