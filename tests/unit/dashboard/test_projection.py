"""Two principal components: distances of points that lie on a plane stay what they are."""

import numpy as np
import pytest

from genepool_server.dashboard.projection import plane


def test_points_of_a_plane_keep_their_distances():
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((20, 2))
    axes, _ = np.linalg.qr(rng.standard_normal((50, 2)))
    points = (flat @ axes.T + 3.0).astype(np.float32)
    drawn = plane(points)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert np.allclose(np.linalg.norm(drawn.places[:, None] - drawn.places[None], axis=-1), apart, atol=1e-4)
    assert sum(drawn.shares) == pytest.approx(1.0)
    assert drawn.shares[0] >= drawn.shares[1]


def test_the_same_points_give_the_same_picture_in_whatever_order():
    points = np.random.default_rng(2).standard_normal((9, 6)).astype(np.float32)
    turned = plane(points[::-1]).places[::-1]
    assert np.allclose(plane(points).places, turned, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_points_are_no_problem(count):
    drawn = plane(np.ones((count, 4), dtype=np.float32))
    assert drawn.places.shape == (count, 2)
    assert not drawn.places.any()
    assert drawn.shares == (0.0, 0.0)
