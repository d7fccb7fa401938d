"""Paired means and intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_lab.benchmark.rows import MAIN, Row
from genepool_lab.benchmark.statistics import differences as of
from genepool_lab.benchmark.statistics import gain, mean, worst


def rows(values, column="x"):
    """A row a draw: values[task][draw]."""
    return [
        Row(MAIN, f"task{task}", "covered", draw, 5, column, "2,1", 0, value)
        for task, draws in enumerate(values)
        for draw, value in enumerate(draws)
    ]


tables = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=4).filter(
    lambda values: sum(map(len, values)) > 1
)


def test_one_episode_has_no_interval():
    assert str(gain(rows([[0.75]]), rows([[0.5]]))) == "+25.0 (one episode: no interval)"


@given(tables, st.floats(-0.5, 0.5))
def test_a_constant_difference_has_no_spread_whatever_the_tasks_are(values, by):
    found = gain(rows([[v + by for v in draws] for draws in values]), rows(values))
    assert (found.mean, found.low, found.high) == pytest.approx((100 * by,) * 3, abs=1e-6)


@given(tables)
def test_the_interval_of_a_difference_turns_round_with_it(values):
    zero = rows([[0.5] * len(draws) for draws in values])
    there, back = gain(rows(values), zero), gain(zero, rows(values))
    assert there.mean == pytest.approx(-back.mean, abs=1e-9)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-6)
    assert there.low - 1e-9 <= there.mean <= there.high + 1e-9 or len(values) > 1


def test_every_task_weighs_the_same_however_many_draws_it_has():
    assert mean(rows([[1.0], [0.0, 0.0, 0.0]])) == 0.5
    assert gain(rows([[1.0], [0.0, 0.0, 0.0]]), rows([[0.0], [0.0, 0.0, 0.0]])).mean == 50.0


def test_only_episodes_of_both_are_compared():
    assert gain(rows([[1.0]]), []) is None
    assert gain(rows([[1.0, 0.2]]), rows([[0.5]])).mean == 50.0


def test_the_worst_task_is_that_with_the_lowest_mean():
    pairs = of(rows([[0.5, 0.5], [0.9, 0.1]]), rows([[0.5, 0.5], [0.6, 0.6]]))
    assert worst(pairs) == ("task1", pytest.approx(-10.0))


def test_the_interval_covers_the_spread_between_tasks():
    rng = np.random.default_rng(0)
    values = [[float(v)] * 5 for v in rng.normal(0.1, 0.05, 12)]
    found = gain(rows(values), rows([[0.0] * 5] * 12))
    assert 2 < found.high - found.low < 9
