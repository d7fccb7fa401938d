"""Small pools for serving."""

import numpy as np
import pytest

from genepool_server.serving import descend_request
from genepool_server.serving.library import Family
from genepool_server.serving.shared_images import Pictures
from tests.support.views import MemoryView


@pytest.fixture
def view(tmp_path) -> MemoryView:
    """Three contributions of three sites."""
    view = MemoryView(tmp_path)
    for site in ("north", "south", "west"):
        view.add(site)
    return view


@pytest.fixture
def family(view) -> Family:
    return descend_request.family(view.blueprint("tiny-16"))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def support():
    """Twelve images of three classes that differ in brightness."""
    rng = np.random.default_rng(3)
    labels = np.arange(12) % 3
    pixels = rng.integers(0, 100, (12, 16, 16, 3)) + 70 * labels[:, None, None, None]
    return pixels.astype(np.uint8), labels


@pytest.fixture
def shared(support, tmp_path):
    """The same images where workers find them, and their labels."""
    pictures = Pictures.create([tmp_path])
    with pictures.lent(support[0]) as pixels:
        yield pixels, support[1]
    pictures.close()
