"""Support sets: folders with and without classes, arrays, and what cannot be one."""

import numpy as np
import pytest
from PIL import Image

from genepool_client.consumer.select.support import load, of_arrays
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from tests.support.images import write_classes
from tests.support.refusals import reason_of


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def test_class_folders_are_a_labelled_set(forge, tmp_path, rng):
    found = load(write_classes(tmp_path / "s", {"b": 2, "a": 3}, rng), forge.blueprint)
    assert found.classes == ("a", "b")
    assert found.wire_labels == [0, 0, 0, 1, 1]
    assert found.pixels.shape == (5, 16, 16, 3)
    assert found.describe() == "5 images, 2 classes"


def test_a_flat_folder_is_an_unlabelled_set(forge, tmp_path, rng):
    found = load(write_classes(tmp_path / "s", {"a": 4}, rng) / "a", forge.blueprint)
    assert (found.labels, found.classes, found.wire_labels) == (None, (), [])
    assert found.describe() == "4 images, no labels"


def test_one_class_folder_is_refused_with_both_ways_out(forge, tmp_path, rng):
    with pytest.raises(GenepoolError, match="support set") as caught:
        load(write_classes(tmp_path / "s", {"a": 4}, rng), forge.blueprint)
    assert caught.value.reason == "ONE_CLASS_ONLY"
    assert "unlabelled" in caught.value.fix


def test_a_folder_without_images_is_refused(forge, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("no image")
    assert reason_of(load, tmp_path / "s", forge.blueprint) == "FOLDER_EMPTY"


def test_a_class_folder_without_images_is_refused(forge, tmp_path, rng):
    folder = write_classes(tmp_path / "s", {"a": 2, "b": 2}, rng)
    (folder / "c").mkdir()
    assert reason_of(load, folder, forge.blueprint) == "CLASS_EMPTY"


def test_a_path_that_is_not_there_is_refused(forge, tmp_path):
    assert reason_of(load, tmp_path / "nothing", forge.blueprint) == "PATH_MISSING"


def test_an_image_that_cannot_be_read_is_named(forge, tmp_path, rng):
    folder = write_classes(tmp_path / "s", {"a": 2, "b": 2}, rng)
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(GenepoolError, match=r"broken\.png") as caught:
        load(folder, forge.blueprint)
    assert caught.value.reason == "IMAGE_UNREADABLE"


def test_too_many_images_are_refused_before_one_is_read(forge, tmp_path):
    (tmp_path / "s").mkdir()
    for index in range(LIMITS.support_images + 1):
        (tmp_path / "s" / f"{index}.png").write_bytes(b"not even an image")
    assert reason_of(load, tmp_path / "s", forge.blueprint) == "SUPPORT_TOO_LARGE"


def test_too_many_classes_are_refused(forge, rng):
    count = LIMITS.support_classes + 1
    pixels = rng.integers(0, 256, (2 * count, 16, 16, 3), dtype=np.uint8)
    assert reason_of(of_arrays, forge.blueprint, pixels, np.arange(2 * count) % count) == "SUPPORT_MALFORMED"


def test_labels_of_any_kind_name_their_classes(forge, rng):
    pixels = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    for labels, classes in (([7, 3, 7, 3, 7, 3], ("3", "7")), (["b", "a"] * 3, ("a", "b"))):
        found = of_arrays(forge.blueprint, pixels, labels)
        assert found.classes == classes
        assert found.wire_labels == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("shape", "dtype", "labels", "expected"),
    [
        ((4, 8, 8, 3), np.uint8, None, "SUPPORT_MALFORMED"),
        ((4, 16, 16, 3), np.float32, None, "SUPPORT_MALFORMED"),
        ((0, 16, 16, 3), np.uint8, None, "SUPPORT_MALFORMED"),
        ((4, 16, 16, 3), np.uint8, [0, 1, 0], "SUPPORT_MALFORMED"),
        ((4, 16, 16, 3), np.uint8, [], "SUPPORT_MALFORMED"),
        ((4, 16, 16, 3), np.uint8, [5, 5, 5, 5], "ONE_CLASS_ONLY"),
    ],
)
def test_arrays_that_are_no_support_set_are_refused(forge, shape, dtype, labels, expected):
    assert reason_of(of_arrays, forge.blueprint, np.zeros(shape, dtype), labels) == expected


def test_odd_modes_are_read(forge, tmp_path, rng):
    folder = write_classes(tmp_path / "s", {"a": 1, "b": 2}, rng)
    square = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(square).convert("P").save(folder / "a" / "palette.png")
    Image.fromarray(square).convert("RGBA").save(folder / "b" / "transparent.png")
    assert load(folder, forge.blueprint).pixels.shape == (5, 16, 16, 3)
