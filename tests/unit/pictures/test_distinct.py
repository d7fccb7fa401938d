"""The number of images that privacy rests on is that of distinct pictures."""

import numpy as np
import pytest
from PIL import Image

from genepool_client.pictures.decode import decode, square
from genepool_client.pictures.distinct import NEAR, distinct, first_of_each
from genepool_client.pictures.images import image_set, load_images
from genepool_client.simulate import partition
from tests.support.images import write_classes


def pixels(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [5, 16, 28, 33])
def test_copies_are_left_out_and_pictures_stay(size):
    ours = pixels(20, size)
    assert first_of_each(ours).tolist() == list(range(20))
    assert first_of_each(np.concatenate([ours, ours[::-1]])).tolist() == list(range(20))


def test_the_rule_is_the_mean_difference_and_holds_on_both_sides():
    ours = np.full((1, 20, 20, 3), 100, dtype=np.uint8)
    near, far = ours.copy(), ours.copy()
    near.reshape(-1)[: int(NEAR * near.size)] += 1
    far.reshape(-1)[: int(NEAR * far.size) + 2] += 1
    assert len(first_of_each(np.concatenate([ours, near]))) == 1
    assert len(first_of_each(np.concatenate([ours, far]))) == 2
    spread = ours.copy()  # the same mean, another picture
    spread[:, :10] -= 20
    spread[:, 10:] += 20
    assert len(first_of_each(np.concatenate([ours, spread]))) == 2


def test_what_was_saved_again_without_loss_or_rescaled_at_a_larger_size_is_one_picture(tmp_path):
    large = Image.fromarray(pixels(1, 16)[0]).resize((512, 512), Image.Resampling.BICUBIC)
    large.save(tmp_path / "again.webp", lossless=True)
    squares = [square(large, 32), decode(tmp_path / "again.webp", 32), square(large.resize((256, 256)), 32)]
    assert len(first_of_each(np.stack(squares))) == 1


def test_the_set_says_how_many_were_left_out_and_keeps_classes_and_order():
    ours = pixels(4)
    labels = np.array([0, 0, 1, 1, 1, 0])
    images = image_set(np.concatenate([ours, ours[[3, 2]]]), labels, ["a", "b"])
    found = distinct(images)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(found.pixels, ours)
    assert found.notes == ("2 of 6 images are copies of others and were left out",)
    assert found.digest == distinct(found).digest != images.digest


def test_without_copies_the_set_is_the_same_thing(tmp_path):
    images = load_images(write_classes(tmp_path, {"a": 3, "b": 3}, np.random.default_rng(0)), 8)
    assert distinct(images) is images


@pytest.mark.slow
def test_no_two_images_of_the_sample_pack_are_one_picture(tmp_path):
    partition.samples(tmp_path, 6)
    folders = [*(tmp_path / "sites").iterdir(), *(tmp_path / "tasks").iterdir()]
    sets = [load_images(folder, 32).pixels for folder in folders]
    assert sum(map(len, sets)) == 5982  # the rule's docstring says so
    assert all(len(first_of_each(pixels)) == len(pixels) for pixels in sets)
