"""The head beside a descendant: what is written is what is read, whatever classes are called."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import Head
from genepool_client.pictures.intensity import Intensity
from genepool_protocol.learngene import tensors

ARRAYS = {"head.weight": np.ones((1, 4), np.float32), "head.bias": np.ones(1, np.float32)}
NAME = {"classes.utf8": np.frombuffer(b'["x"]', np.uint8).astype(np.float32)}
NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, st.integers(1, 9))
def test_a_head_comes_back_as_it_was(tmp_path, names, width):
    rng = np.random.default_rng(len(names))
    head = Head(
        rng.standard_normal((len(names), width)).astype(np.float32), rng.standard_normal(len(names)).astype(np.float32)
    )
    images = rng.integers(0, 256, (width, 4, 4, 3), dtype=np.uint8)
    head_file.write(tmp_path, head, names, images)
    again = head_file.read(tmp_path, width)
    assert again.classes == tuple(names)
    np.testing.assert_array_equal(again.head.weight, head.weight)
    np.testing.assert_array_equal(again.head.bias, head.bias)
    np.testing.assert_array_equal(again.seen, head_file.digests_of(images))


def test_what_was_black_and_white_in_the_images_stays_beside_the_head(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    head_file.write(tmp_path, Head(ARRAYS["head.weight"], ARRAYS["head.bias"]), ["x"], images, Intensity(-1024, 3071))
    assert head_file.read(tmp_path, 4).intensity == Intensity(-1024, 3071)


def test_a_head_of_an_earlier_version_says_nothing_of_images(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(tensors.encode({**ARRAYS, **NAME}, "F32"))
    assert head_file.read(tmp_path, 4).seen is None


@pytest.mark.parametrize(
    "change",
    [
        {"head.bias": np.float32(0)},  # no axis at all
        {"classes.utf8": np.float32(0)},
        {"classes.utf8": np.float32([91.5, 93.0])},
        {"classes.utf8": np.float32([-1.0, 3e38])},
        {"seen.sha256": np.full((1, 16), 0.5, np.float32)},
        {"seen.sha256": np.zeros((1, 15), np.float32)},
        {"seen.sha256": np.float32(0)},
        {"intensity.range": np.float32([1, 1])},
        {"intensity.range": np.float32([0, 1, 2])},
        {"unknown": np.float32([0])},
    ],
)
def test_a_head_of_other_shapes_or_with_names_that_are_no_bytes_is_refused(tmp_path, change):
    from genepool_protocol.wire.errors import GenepoolError

    (tmp_path / "head.safetensors").write_bytes(tensors.encode({**ARRAYS, **NAME, **change}, "F32"))
    with pytest.raises(GenepoolError) as caught:
        head_file.read(tmp_path, 4)
    assert caught.value.reason == "FOLDER_TAMPERED"


@pytest.mark.parametrize("raw", [b"", b"\x00" * 8, b"x" * 100])
def test_garbage_is_no_head(tmp_path, raw):
    from genepool_protocol.wire.errors import GenepoolError

    (tmp_path / "head.safetensors").write_bytes(raw)
    with pytest.raises(GenepoolError) as caught:
        head_file.read(tmp_path, 4)
    assert caught.value.reason == "FOLDER_TAMPERED"
