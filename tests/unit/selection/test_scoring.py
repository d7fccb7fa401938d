"""Stage B against slow references that share no code with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.selection import scoring
from genepool_protocol.selection.support import looked_at
from genepool_protocol.wire.limits import LIMITS


def clouds(each, classes, width, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = rng.standard_normal((classes, width))
    x = centres[labels] + spread * rng.standard_normal((len(labels), width))
    return x - x.mean(axis=0), labels


def test_knn_is_a_leave_one_out_vote_of_three_neighbours():
    x, labels = clouds(6, 3, 4, seed=3)
    right = 0
    for i in range(len(x)):
        cosine = [
            (float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])), j) for j in range(len(x)) if j != i
        ]
        votes = np.zeros(3)
        for similarity, j in sorted(cosine, reverse=True)[:3]:
            votes[labels[j]] += 1 + similarity
        right += votes.argmax() == labels[i]
    assert scoring.knn(x, labels) == pytest.approx(right / len(x))


def test_logme_is_the_largest_evidence_over_both_precisions():
    x, labels = clouds(8, 2, 5, seed=5)
    n, width = x.shape

    def evidence(y, alpha, beta):
        a = alpha * np.eye(width) + beta * x.T @ x
        m = beta * np.linalg.solve(a, x.T @ y)
        value = width / 2 * np.log(alpha) + n / 2 * np.log(beta) - n / 2 * np.log(2 * np.pi)
        value -= beta / 2 * np.sum((x @ m - y) ** 2) + alpha / 2 * m @ m + 0.5 * np.linalg.slogdet(a)[1]
        return value / n

    grid = np.logspace(-3, 3, 120)
    best = [max(evidence((labels == c).astype(float), a, b) for a in grid for b in grid) for c in range(2)]
    assert scoring.logme(x, labels) == pytest.approx(np.mean(best), abs=5e-3)


def test_features_that_separate_better_score_better_in_everything():
    close, labels = clouds(6, 4, 16, seed=6, spread=2.5)
    apart, _ = clouds(6, 4, 16, seed=6, spread=0.3)
    bad, good = scoring.score(close.astype(np.float32), labels), scoring.score(apart.astype(np.float32), labels)
    assert good.knn > bad.knn
    assert good.lda > bad.lda
    assert good.logme > bad.logme
    assert np.mean(good.errors) < np.mean(bad.errors)
    assert len(good.errors) == len(labels)


def test_scores_do_not_depend_on_scale_or_origin():
    x, labels = clouds(5, 3, 8, seed=7)
    one = scoring.score(x.astype(np.float32), labels)
    other = scoring.score((4 * x + 2).astype(np.float32), labels)
    assert (other.knn, other.lda) == (one.knn, one.lda)
    assert other.logme == pytest.approx(one.logme, abs=1e-4)
    assert np.allclose(other.errors, one.errors, atol=1e-4)


def test_a_single_image_of_each_class_cannot_be_left_out():
    x, labels = clouds(1, 5, 8, seed=8)
    found = scoring.score(x.astype(np.float32), labels)
    assert found.errors == ()
    assert found.knn == found.lda == 0.0


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_features_that_say_nothing_score_without_an_error(value):
    labels = np.repeat([0, 1], 4)
    found = scoring.score(np.full((8, 6), value, dtype=np.float32), labels)
    assert np.isfinite([found.knn, found.lda, found.logme, *found.errors]).all()
    x, _ = clouds(4, 2, 6, seed=9, spread=0.1)
    assert scoring.score(x.astype(np.float32), labels).logme > found.logme


@given(counts=st.lists(st.integers(1, 400), min_size=2, max_size=256).filter(lambda counts: sum(counts) <= 1024))
def test_what_is_looked_at_is_bounded_balanced_and_the_same_every_time(counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    index = looked_at(labels)
    assert np.array_equal(index, looked_at(labels.copy()))
    assert np.array_equal(index, np.unique(index))
    taken = np.bincount(labels[index], minlength=len(counts))
    if len(labels) <= LIMITS.scored_images:
        assert len(index) == len(labels)
        return
    assert len(index) <= max(LIMITS.scored_images, 2 * len(counts))
    assert all(took == count for took, count in zip(taken, counts, strict=True) if took < taken.max())
    again = looked_at(labels[index])  # what is looked at of what is looked at is all of it
    assert len(again) == len(index) or len(index) > LIMITS.scored_images
