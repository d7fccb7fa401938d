"""The Gaussian mechanism, exactly: how much noise an (epsilon, delta) takes, and what several releases add up to.

A release of a sum whose sensitivity is D (the most that one image can move it, in the Euclidean norm) with independent
Gaussian noise of standard deviation s in every coordinate is (epsilon, delta)-differentially private if and only if

    delta >= Phi(m / 2 - epsilon / m) - exp(epsilon) * Phi(-m / 2 - epsilon / m)        with m = D / s

(Balle and Wang, ICML 2018, theorem 8). Releases with m_1, m_2, ... of the same images, each chosen after the earlier
ones were seen, are together one with m = sqrt(m_1^2 + m_2^2 + ...) (Dong, Roth and Su 2022, corollary 3.3).
"""

import math
from collections.abc import Iterable
from typing import Final

from genepool_protocol.wire.limits import LIMITS

EPSILON: Final = "1"
DELTA: Final = "1e-6"
"""What an embedding spends by default. Sites of 700 images lose nothing by it; those of 100 are found a fifth less
often."""

FALSE_REFUSALS: Final = 1e-9
"""How often an honest draw of noise is taken for something else, at most, by each test of its length."""

LEAST_EPSILON: Final = LIMITS.key_epsilon_milli / 1000
LEAST_DELTA: Final = 10.0**-LIMITS.key_delta_places
"""Budgets below these would be another way to state noise that drowns everything."""

_HALVINGS: Final = 200
_LARGEST: Final = 1e6  # epsilon and m beyond which nothing is asked


def delta_of(epsilon: float, ratio: float) -> float:
    """The least delta at which a release with this sensitivity over noise is (epsilon, delta)-private; from 0 to 1."""
    if ratio <= 0:
        return 0.0
    far = ratio / 2 + epsilon / ratio
    if far > 26:  # where Phi nears underflow, a lower bound of it, within a thousandth (Gordon 1941)
        lost = math.exp(epsilon - far * far / 2) * far / ((far * far + 1) * math.sqrt(2 * math.pi))
    else:
        lost = math.exp(epsilon) * _phi(-far)
    return min(max(_phi(ratio / 2 - epsilon / ratio) - lost, 0.0), 1.0)


def epsilon_of(ratio: float, delta: float) -> float:
    """The least epsilon, rounded up at twelve digits, at which a release is (epsilon, delta)-private; 0 for none."""
    if delta_of(0.0, ratio) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(high, ratio) > delta and high < _LARGEST:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, ratio) > delta else (low, middle)
    return high


def ratio_of(epsilon: float, delta: float) -> float:
    """The largest sensitivity over noise that is (epsilon, delta)-private: noise is sensitivity over this.

    Raises:
        ValueError: epsilon is not positive, or delta not between 0 and 1.
    """
    if not (epsilon > 0 and 0 < delta < 1):
        raise ValueError(f"there is no mechanism with epsilon {epsilon} and delta {delta}")
    low, high = 0.0, 1.0
    while delta_of(epsilon, high) <= delta and high < _LARGEST:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(epsilon, middle) <= delta else (low, middle)
    return low


def sensitivity(clip: float, images: int) -> float:
    """The most that exchanging one of so many images for another moves a mean of vectors no longer than `clip`."""
    return 2 * clip / images


def noise_lengths(width: int, share: float = FALSE_REFUSALS) -> tuple[float, float]:
    """The least and the largest root mean square of so many standard normal numbers, each passed in `share` at most.

    Chernoff's bound of a chi-square's tails: of k degrees, P(X <= a k) and P(X >= b k), with a < 1 < b, are at most
    (a exp(1 - a))^(k / 2) and the same of b. Beside the exact quantiles they give away a twentieth at a width of 64.
    """
    bound = 2 * math.log(share) / width

    def root(low: float, high: float, *, rises: bool) -> float:
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = middle > 0 and math.log(middle) + 1 - middle > bound
            low, high = (low, middle) if above == rises else (middle, high)
        return math.sqrt(low)

    return root(0.0, 1.0, rises=True), root(1.0, 2.0 - 2 * bound, rises=False)


def composed(ratios: Iterable[float]) -> float:
    """The ratio of all these releases of the same images together."""
    return math.sqrt(sum(ratio * ratio for ratio in ratios))


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
