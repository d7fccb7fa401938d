"""Pixels, patches, the net and keys: what selection and training look at."""

import numpy as np
import pytest
import torch

from genepool_protocol.learngene import expansion
from genepool_protocol.selection import net, pixels, precision, task_key
from genepool_protocol.selection.retrieval import Member, retrieve
from genepool_protocol.selection.task_key import Key
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
        pixels.check_pixels(BLUEPRINT, bad)
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


def test_training_arithmetic_falls_back_to_float32_where_bfloat16_is_not_native(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not precision.trains_in_bfloat16("cpu")
    with precision.training("cpu"):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32


def test_keys_and_scores_stay_float32_inside_a_training_context(weights):
    with precision.training("cpu"):
        assert net.embed(BLUEPRINT, BLUEPRINT.reference, weights, some_pixels(2)).dtype == torch.float32


def test_a_key_is_mean_and_deviation_of_the_seeds_features():
    seed = net.as_tensors(seed_gene(BLUEPRINT, np.random.default_rng(0)))
    images = some_pixels(5)
    key = task_key.task_key(BLUEPRINT, seed, images)
    size = BLUEPRINT.key.size()
    found = net.embed(BLUEPRINT, size, task_key.seed_weights(BLUEPRINT, seed), images).numpy()
    assert np.allclose(key.mean, found.mean(axis=0), atol=1e-6)
    assert np.allclose(key.std, found.std(axis=0), atol=1e-6)
    assert (task_key.task_key(BLUEPRINT, seed, images[:1]).std == 0).all()


def test_retrieval_keeps_the_nearest_and_breaks_ties_by_id():
    def key(value):
        return Key(np.full(4, value, np.float32), np.ones(4, np.float32))

    members = [Member("b", key(1)), Member("c", key(3)), Member("a", key(1)), Member("d", key(0))]
    task = key(0)
    assert [name for name, _ in retrieve(task, members, 3)] == ["d", "a", "b"]
    assert [name for name, _ in retrieve(task, members[::-1], 3)] == ["d", "a", "b"]
    assert dict(retrieve(task, members, 4))["c"] == pytest.approx(3.0)


def test_distances_are_in_units_of_what_varies_within_a_site():
    def member(name, mean, std):
        return Member(name, Key(np.array(mean, np.float32), np.array(std, np.float32)))

    members = [member("a", [0, 10], [1, 10]), member("b", [3, 0], [1, 10]), member("c", [3, 0], [99, 1e9])]
    found = dict(retrieve(Key(np.zeros(2, np.float32), np.zeros(2, np.float32)), members, 3))
    assert found["a"] == pytest.approx(0.5**0.5)
    assert found["b"] == found["c"] == pytest.approx(4.5**0.5)


def test_a_feature_that_never_varies_divides_nothing_by_zero():
    members = [Member("a", Key(np.ones(2, np.float32), np.zeros(2, np.float32)))]
    assert np.isfinite(retrieve(Key(np.zeros(2, np.float32), np.zeros(2, np.float32)), members, 1)[0][1])
