"""Pixels, patches, the net and keys: what selection and training look at."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene import expansion, privacy
from genepool_protocol.learngene.blueprint import EmbeddingSpace
from genepool_protocol.selection import embedding, net, pixels
from genepool_protocol.selection.support import check_pixels
from genepool_protocol.training import precision
from genepool_protocol.wire.errors import InvalidInput
from tests.support.genes import seed_gene, tiny_blueprint

BLUEPRINT = tiny_blueprint()


def some_pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def weights():
    gene = net.as_tensors(seed_gene(BLUEPRINT, np.random.default_rng(0)))
    plan = expansion.plan(BLUEPRINT, BLUEPRINT.reference, BLUEPRINT.seed.components)
    return expansion.expand(plan, gene)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((2, 16, 16), np.uint8),
        np.zeros((2, 8, 16, 3), np.uint8),
        np.zeros((0, 16, 16, 3), np.uint8),
    ],
)
def test_pixels_of_another_shape_or_kind_are_refused(bad):
    with pytest.raises(InvalidInput) as refusal:
        check_pixels(BLUEPRINT, bad)
    assert refusal.value.reason == "SUPPORT_MALFORMED"


def test_images_are_normalised_as_the_blueprint_says():
    images = pixels.to_images(BLUEPRINT, np.full((1, 16, 16, 3), 255, np.uint8))
    assert images.shape == (1, 3, 16, 16)
    assert torch.allclose(images, torch.ones_like(images))


def test_patches_equal_a_strided_convolution():
    images = pixels.to_images(BLUEPRINT, some_pixels(2))
    kernel = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    ours = pixels.to_patches(BLUEPRINT, images) @ kernel.reshape(5, -1).T
    wanted = torch.nn.functional.conv2d(images, kernel, stride=4).flatten(2).transpose(1, 2)
    assert torch.allclose(ours, wanted, atol=1e-5)


def test_augmentation_repeats_with_its_generator_and_keeps_the_shape():
    images = pixels.to_images(BLUEPRINT, some_pixels(3))
    first, same, other = (pixels.augment(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.shape == images.shape


def test_looking_at_every_patch_is_looking_at_the_image(weights):
    patches = pixels.to_patches(BLUEPRINT, pixels.to_images(BLUEPRINT, some_pixels(3)))
    whole = net.features(BLUEPRINT, BLUEPRINT.reference, weights, patches)
    kept = torch.arange(BLUEPRINT.tokens).expand(3, -1)
    assert torch.allclose(net.features(BLUEPRINT, BLUEPRINT.reference, weights, patches, kept), whole, atol=1e-6)


def test_what_a_dropped_patch_shows_does_not_matter(weights):
    patches = pixels.to_patches(BLUEPRINT, pixels.to_images(BLUEPRINT, some_pixels(2)))
    kept = torch.tensor([[0, 3, 5], [1, 2, 15]])
    before = net.features(BLUEPRINT, BLUEPRINT.reference, weights, patches, kept)
    hidden = patches.clone()
    hidden[0, 1], hidden[1, 0] = 9.0, 9.0
    assert torch.equal(net.features(BLUEPRINT, BLUEPRINT.reference, weights, hidden, kept), before)


def test_drawn_patches_are_distinct_and_as_many_as_asked_for():
    rng = torch.Generator().manual_seed(0)
    drawn = net.draw_patches(50, 16, 0.5, rng)
    assert drawn.shape == (50, 8)
    assert all(len(set(row.tolist())) == 8 for row in drawn)
    assert net.draw_patches(50, 16, 0.01, rng).shape == (50, 1)
    assert net.draw_patches(50, 16, 1.0, rng) is None


def test_features_do_not_depend_on_the_batch_size(weights):
    images = some_pixels(9)
    one = net.embed(BLUEPRINT, BLUEPRINT.reference, weights, images, batch=2)
    assert torch.allclose(one, net.embed(BLUEPRINT, BLUEPRINT.reference, weights, images), atol=1e-5)


def test_keys_and_scores_stay_float32_inside_a_training_context(weights):
    with precision.training("cpu"):
        assert net.embed(BLUEPRINT, BLUEPRINT.reference, weights, some_pixels(2)).dtype == torch.float32


@pytest.mark.parametrize("width", [16, 8, 1])
def test_a_key_is_the_mean_of_features_that_the_blueprint_centres_scales_folds_and_clips(width):
    seed = net.as_tensors(seed_gene(BLUEPRINT, np.random.default_rng(0)))
    images = some_pixels(5)
    raw = net.embed(BLUEPRINT, BLUEPRINT.key.size(), embedding.seed_weights(BLUEPRINT, seed), images).numpy()
    scaled = (raw.astype(np.float64) - 0.25) / 0.5
    scaled = np.stack([scaled[:, place::width].sum(axis=1) for place in range(width)], axis=1) / np.sqrt(16 / width)
    clip = float(np.sort(np.linalg.norm(scaled, axis=1))[2])
    space = EmbeddingSpace(centre=["0.25"] * 16, scale=["0.5"] * 16, width=width, clip=f"{clip:.6f}")
    exact = embedding.task_embedding(tiny_blueprint(key_space=space), seed, images)
    shrunk = scaled * np.minimum(1, clip / np.linalg.norm(scaled, axis=1, keepdims=True))
    assert exact.mean.shape == (width,)
    assert np.allclose(exact.mean, shrunk.mean(axis=0), atol=1e-5)
    assert not np.allclose(exact.mean, scaled.mean(axis=0), atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(1e-3, 1e3), st.sampled_from([1, 2, 4, 8, 16]))
def test_exchanging_one_image_moves_a_mean_by_no_more_than_the_sensitivity(rng, count, size, width):
    generator = np.random.default_rng(rng)
    space = EmbeddingSpace(
        centre=[f"{value:.6f}" for value in generator.normal(0, size, 16)],
        scale=[f"{value:.6f}" for value in generator.uniform(0.01, 2, 16)],
        width=width,
        clip="3.5",
    )
    blueprint = tiny_blueprint(key_space=space)
    one = torch.from_numpy(generator.normal(0, size, (count, 16)))
    other = one.clone()
    other[0] = torch.from_numpy(generator.normal(0, size, 16))
    means = [embedding.standard(blueprint, features).mean(dim=0) for features in (one, other)]
    assert float((means[0] - means[1]).norm()) <= privacy.sensitivity(3.5, count) * (1 + 1e-9)
