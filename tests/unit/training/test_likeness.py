"""Sets of real pictures: the same ones recompressed are alike, other ones of the same kind are not."""

import io
import zipfile
from collections import defaultdict
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from genepool_client.training import likeness
from genepool_client.training.privacy import _TOLD
from genepool_protocol.pictures import open_picture


@pytest.fixture(scope="module")
def sites():
    """The pictures of each site of the sample pack, shuffled."""
    found = defaultdict(list)
    with zipfile.ZipFile(str(files("genepool_client.simulate") / "samples" / "samples.zip")) as pack:
        for name in pack.namelist():
            if name.startswith("sites/") and name.endswith(".png"):
                with open_picture(io.BytesIO(pack.read(name))) as picture:
                    found[name.split("/")[1]].append(np.asarray(picture.convert("RGB")))
    return {name: np.random.default_rng(0).permutation(np.stack(every)) for name, every in found.items()}


def jpeg(image, quality) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with open_picture(file) as again:
        return np.asarray(again)


def test_other_pictures_of_the_same_kind_are_not_alike(sites):
    for name, pixels in sites.items():
        half = len(pixels) // 2
        assert likeness.share(likeness.prints_of(pixels[:half]), likeness.prints_of(pixels[half:])) < _TOLD, name


def test_recompressed_pictures_are_alike(sites):
    for name, pixels in sites.items():
        again = np.stack([jpeg(image, 85) for image in pixels[:100]])
        assert likeness.digest_of(again) != likeness.digest_of(pixels[:100])
        assert likeness.share(likeness.prints_of(again), likeness.prints_of(pixels)) > 0.95, name


def test_a_print_says_nothing_of_the_order(sites):
    pixels = sites["digits"][:50]
    assert np.array_equal(likeness.prints_of(pixels), likeness.prints_of(pixels[::-1]))
