"""A site's two trainings: what they give back, and that being cut short changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genepool_client.pictures.images import image_set
from genepool_client.training import ancestry, condense
from genepool_client.training.recipe import TrainRecipe, scaled_steps, suited
from genepool_client.training.trainer import Trainer
from genepool_protocol.learngene import expansion
from genepool_protocol.selection import net
from genepool_protocol.wire.errors import Refused
from tests.support.genes import published_blueprint, seed_gene, tiny_blueprint

RECIPE = TrainRecipe(steps=60, batch=8, warmup=2)
BLUEPRINT = tiny_blueprint()


class CutShortError(Exception):
    """Stands for a kill in the middle of a training."""


def quiet(_done, _total, _note):
    pass


def cut_at(step):
    def progress(done, _total, _note):
        if done == step:
            raise CutShortError

    return progress


@pytest.fixture
def seed():
    return seed_gene(BLUEPRINT, np.random.default_rng(0))


@pytest.fixture
def images():
    """Two classes that differ in brightness, eleven images each, so that one of each is held out."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 11)
    pixels = rng.integers(0, 80, (22, 16, 16, 3)) + 120 * labels[:, None, None, None]
    return image_set(pixels.astype(np.uint8), labels, ["dark", "light"])


def bytes_of(tensors):
    return {name: np.asarray(tensor).tobytes() for name, tensor in tensors.items()}


def trained(seed, images, folder, recipe=RECIPE):
    folder.mkdir(exist_ok=True)
    return ancestry.train_ancestry(BLUEPRINT, seed, images, folder, recipe=recipe, progress=quiet)


@pytest.mark.parametrize("step", [3, 50, 57])
def test_an_ancestry_model_that_was_cut_short_ends_with_the_same_bytes(seed, images, tmp_path, step):
    whole = trained(seed, images, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    with pytest.raises(CutShortError):
        ancestry.train_ancestry(BLUEPRINT, seed, images, tmp_path / "cut", recipe=RECIPE, progress=cut_at(step))
    again = trained(seed, images, tmp_path / "cut")
    assert again.steps == whole.steps == RECIPE.steps
    assert bytes_of(again.weights) == bytes_of(whole.weights)


def test_a_condensing_that_was_cut_short_ends_with_the_same_delta(seed, images, tmp_path):
    weights = trained(seed, images, tmp_path).weights
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    first = condense.condense(BLUEPRINT, seed, images, weights, whole, recipe=RECIPE, progress=quiet)
    with pytest.raises(CutShortError):
        condense.condense(BLUEPRINT, seed, images, weights, cut, recipe=RECIPE, progress=cut_at(53))
    again = condense.condense(BLUEPRINT, seed, images, weights, cut, recipe=RECIPE, progress=quiet)
    assert bytes_of(again.delta) == bytes_of(first.delta)


FALLING = replace(RECIPE, steps=50, whole=0.6)
"""Held-out images are looked at after 30, 35, 40, 45 and 50 steps."""


def falls(folder, errors, progress=quiet):
    """A training of one vector, of which held-out images say what is given for each step, and where it ended."""
    folder.mkdir(exist_ok=True)
    seen = {}

    def watch(done, total, note):
        seen[done] = trainer.params["norm.bias"].tolist()
        progress(done, total, note)

    params = {"norm.bias": torch.full((3,), 5.0).requires_grad_()}
    trainer = Trainer(params, {"norm.bias": torch.zeros(3)}, FALLING, folder / "fall.pt", "fall")
    trainer.run(lambda _step, _rng: (params["norm.bias"] ** 2).sum(), watch, lambda: errors[trainer.step])
    return trainer, seen


@pytest.mark.parametrize(
    ("errors", "ends", "kept"),
    [
        ((0.3, 0.2, 0.2, 0.1, 0.1), 50, 50),
        ((0.1, 0.2, 0.3, 0.0, 0.0), 40, 30),
        ((0.3, 0.1, 0.2, 0.1, 0.2), 50, 45),
        ((0.3, 0.1, 0.2, 0.2, 0.0), 45, 35),
    ],
)
def test_training_ends_early_with_what_made_the_fewest_errors_and_of_equals_with_the_latest(
    tmp_path, errors, ends, kept
):
    trainer, seen = falls(tmp_path / "fall", dict(zip(range(30, 51, 5), errors, strict=True)))
    assert trainer.step == ends
    assert trainer.params["norm.bias"].tolist() == seen[kept]


@pytest.mark.parametrize("raw", [b"", b"not a checkpoint", b"PK\x03\x04 half of one"])
def test_a_checkpoint_that_cannot_be_read_is_refused_with_the_cure(tmp_path, raw):
    (tmp_path / "fall.pt").write_bytes(raw)
    with pytest.raises(Refused) as refusal:
        falls(tmp_path, {})
    assert refusal.value.reason == "DATA_CHANGED"
    assert "remove the file" in refusal.value.fix
    assert (tmp_path / "fall.pt").read_bytes() == raw, "nothing is lost"


@pytest.mark.parametrize("step", [33, 41, 44])
def test_a_training_that_was_cut_short_ends_as_early_and_with_the_same_values(tmp_path, step):
    errors = {30: 0.3, 35: 0.1, 40: 0.2, 45: 0.2, 50: 0.0}
    whole, _ = falls(tmp_path / "whole", errors)
    with pytest.raises(CutShortError):
        falls(tmp_path / "cut", errors, cut_at(step))
    again, _ = falls(tmp_path / "cut", errors)
    assert again.step == whole.step == 45
    assert again.params["norm.bias"].tolist() == whole.params["norm.bias"].tolist()
    finished, seen = falls(tmp_path / "cut", errors)
    assert not seen
    assert finished.params["norm.bias"].tolist() == whole.params["norm.bias"].tolist()


def test_a_site_of_few_held_out_images_takes_every_step(seed, images, tmp_path):
    assert trained(seed, images, tmp_path).steps == RECIPE.steps


def test_a_site_that_can_hold_out_nothing_trains_and_condenses(seed, images, tmp_path):
    few = image_set(images.pixels[6:16], images.labels[6:16], images.classes)
    made = trained(seed, few, tmp_path)
    assert made.steps == RECIPE.steps
    assert made.accuracy.images == 0
    assert condense.condense(BLUEPRINT, seed, few, made.weights, tmp_path, recipe=RECIPE, progress=quiet).steps == 60


def test_a_finished_training_takes_no_more_steps(seed, images, tmp_path):
    whole = trained(seed, images, tmp_path)
    seen = []
    again = ancestry.train_ancestry(
        BLUEPRINT, seed, images, tmp_path, recipe=RECIPE, progress=lambda done, _total, _note: seen.append(done)
    )
    assert not seen
    assert bytes_of(again.weights) == bytes_of(whole.weights)


def test_another_rng_gives_another_model_and_the_same_one_the_same(seed, images, tmp_path):
    short = replace(RECIPE, steps=3)
    first = trained(seed, images, tmp_path / "a", short)
    same = trained(seed, images, tmp_path / "b", short)
    other = trained(seed, images, tmp_path / "c", replace(short, rng=1))
    assert bytes_of(first.weights) == bytes_of(same.weights)
    assert bytes_of(first.weights) != bytes_of(other.weights)


@pytest.mark.parametrize("change", ["recipe", "images"])
def test_a_checkpoint_of_something_else_is_refused(seed, images, tmp_path, change):
    trained(seed, images, tmp_path)
    recipe = replace(RECIPE, lr=1e-3) if change == "recipe" else RECIPE
    if change == "images":
        images = image_set(255 - images.pixels, images.labels, images.classes)
    with pytest.raises(Refused) as refusal:
        trained(seed, images, tmp_path, recipe)
    assert refusal.value.reason == "DATA_CHANGED"


def test_the_ancestry_model_learns_what_separates_its_classes(seed, images, tmp_path):
    result = trained(seed, images, tmp_path, replace(RECIPE, steps=150, lr=2e-3, patches=1.0))
    assert result.accuracy.share == 1.0
    assert result.weights["head.weight"].shape == (2, 16)


def test_a_learngene_has_the_blueprints_layout_and_says_what_the_ancestry_model_says(seed, images, tmp_path):
    recipe = replace(RECIPE, steps=150, lr=2e-3)
    weights = trained(seed, images, tmp_path, recipe).weights
    result = condense.condense(BLUEPRINT, seed, images, weights, tmp_path, recipe=recipe, progress=quiet)
    layout = expansion.gene_layout(BLUEPRINT, BLUEPRINT.components)
    assert {name: array.shape for name, array in result.delta.items()} == layout
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in result.delta.values())
    assert result.agreement == 1.0


def test_condensing_starts_at_the_least_squares_projection(seed, images, tmp_path):
    weights = trained(seed, images, tmp_path).weights
    start = condense.project_delta(BLUEPRINT, net.as_tensors(seed), weights)
    again = expansion.expand(expansion.plan(BLUEPRINT, BLUEPRINT.reference, BLUEPRINT.components), start)
    origin = expansion.expand(
        expansion.plan(BLUEPRINT, BLUEPRINT.reference, BLUEPRINT.seed.components), net.as_tensors(seed)
    )
    rest = {name: weights[name] - origin[name] - again[name] for name in origin}
    projected = expansion.project(BLUEPRINT, rest, BLUEPRINT.components)
    assert max(float(tensor.abs().max()) for tensor in projected.values()) < 1e-5


def test_a_strong_decay_keeps_the_learngene_near_the_seed(seed, images, tmp_path):
    weights = trained(seed, images, tmp_path).weights
    norms = []
    for decay in (0.0, 100.0):
        folder = tmp_path / str(decay)
        folder.mkdir()
        recipe = replace(RECIPE, decay=decay, lr=1e-3)
        found = condense.condense(BLUEPRINT, seed, images, weights, folder, recipe=recipe, progress=quiet)
        norms.append(sum(float(np.sum(array**2)) for array in found.delta.values()))
    assert norms[1] < 0.5 * norms[0]


def test_every_size_that_can_descend_is_trained():
    rng = torch.Generator().manual_seed(0)
    drawn = {size for _ in range(300) for size in condense.draw_sizes(BLUEPRINT, rng)}
    assert {size.depth for size in drawn if size.heads == BLUEPRINT.heads} == {1, 2, 3, 4, 5}
    assert {size.heads for size in drawn} == {1, 2}
    for size in drawn:
        BLUEPRINT.check(size)


@pytest.mark.slow
def test_a_published_net_is_trained_and_condensed_at_every_size_that_it_has(images, tmp_path):
    blueprint = published_blueprint()
    rng = torch.Generator().manual_seed(0)
    assert {size for _ in range(200) for size in condense.draw_sizes(blueprint, rng)} == set(blueprint.sizes())
    seed, recipe = seed_gene(blueprint, np.random.default_rng(0)), replace(RECIPE, steps=150, lr=2e-3, muon=False)
    made = ancestry.train_ancestry(blueprint, seed, images, tmp_path, recipe=recipe, progress=quiet)
    result = condense.condense(blueprint, seed, images, made.weights, tmp_path, recipe=recipe, progress=quiet)
    assert (made.accuracy.share, result.agreement) == (1.0, 1.0)
    assert {name: array.shape for name, array in result.delta.items()} == expansion.gene_layout(blueprint, 2)
    assert all(np.abs(result.delta[name]).max() > 0 for name in ("cls_token", "a0.ls1.gamma", "a1.ls2.gamma"))


def test_wide_nets_are_trained_more_gently():
    assert suited(BLUEPRINT, RECIPE) == RECIPE
    wide = suited(tiny_blueprint(heads=6, head_dim=64), RECIPE)
    assert (wide.muon, wide.steps) == (False, RECIPE.steps // 2)
    assert (wide.lr, wide.plain_lr) == pytest.approx((RECIPE.lr / 20, RECIPE.plain_lr / 20))
    assert wide.head_lr == RECIPE.head_lr


def test_steps_grow_with_the_images_between_bounds():
    steps = [scaled_steps(300, images, 20) for images in (1, 100, 700, 2000, 50_000, 10**7)]
    assert steps == sorted(steps)
    assert steps[0] == 90
    assert 140 < steps[1] < 160
    assert steps[2] == 300
    assert 400 < steps[3] < 450
    assert steps[-1] == 1800


def test_steps_grow_with_the_classes_from_half_of_them_to_all():
    steps = [scaled_steps(300, 700, classes) for classes in (1, 10, 15, 20, 1000)]
    assert steps == [150, 150, 225, 300, 300]
    assert scaled_steps(1, 1, 1) == 1


def test_classes_of_fewer_than_ten_images_give_none_away():
    labels = np.array([0] * 9 + [1] * 20)
    kept, held = ancestry.hold_out(image_set(np.zeros((29, 8, 8, 3), dtype=np.uint8), labels, ["few", "many"]))
    assert set(labels[held]) == {1}
    assert len(held) == 2
    assert sorted([*kept, *held]) == list(range(29))
