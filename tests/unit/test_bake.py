"""Baking a seed: what it reads, what it writes, and that being cut short changes nothing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import embedding, net
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused
from genepool_server import bake
from genepool_server.bake import layers, measure
from genepool_server.bake.corpus import whiten
from tests.support.genes import seed_gene, tiny_blueprint, write_seed

BLUEPRINT = tiny_blueprint()
RECIPE = bake.BakeRecipe(steps=205, batch=4, warmup=2)
CLASSES = ("drawn/dark", "drawn/light", "photos/middle")
EACH = 26


class CutShortError(Exception):
    """Stands for a kill in the middle of baking."""


def cut_at(step):
    def progress(done, _total, _note):
        if done == step:
            raise CutShortError

    return progress


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = (rng.integers(0, 60, (20, 20, 3)) + 60 * label).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "features.npz"
    rng = np.random.default_rng(1)
    views = {
        name: rng.standard_normal((len(CLASSES) * EACH, 12)).astype(np.float16) for name in ("features", "inverted")
    }
    np.savez(path, **views)
    return path


def test_a_corpus_is_read_by_set_and_class(corpus):
    found = bake.read_corpus(corpus, 16)
    assert found.images.shape == (len(CLASSES) * EACH, 16, 16, 3)
    assert found.names == list(CLASSES)
    assert np.bincount(found.labels).tolist() == [EACH] * 3
    assert found.targets is None


def test_an_empty_corpus_is_named(tmp_path):
    with pytest.raises(InvalidInput) as refusal:
        bake.read_corpus(tmp_path, 16)
    assert refusal.value.reason == "FOLDER_EMPTY"


def test_a_teacher_of_another_corpus_is_refused(corpus, tmp_path):
    np.savez(tmp_path / "few.npz", features=np.zeros((3, 4)), inverted=np.zeros((3, 4)))
    with pytest.raises(InvalidInput) as refusal:
        bake.read_corpus(corpus, 16, tmp_path / "few.npz")
    assert refusal.value.reason == "DIGEST_MISMATCH"


def test_a_file_that_holds_no_features_is_refused(corpus, tmp_path):
    (tmp_path / "noise.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput) as refusal:
        bake.read_corpus(corpus, 16, tmp_path / "noise.npz")
    assert refusal.value.reason == "FILE_MALFORMED"


def test_baking_writes_a_blueprint_a_seed_and_a_log_that_fit_together(corpus, teacher, tmp_path):
    final = bake.bake_folder(BLUEPRINT, corpus, tmp_path / "out", teacher=teacher, recipe=RECIPE)
    raw = (tmp_path / "out" / "seed.safetensors").read_bytes()
    assert parse_blueprint((tmp_path / "out" / "blueprint.json").read_bytes()) == final
    assert final.seed.sha256 == f"sha256:{digest.sha256_hex(raw)}"
    assert final.seed.size == len(raw)
    seed = TensorFile(tmp_path / "out" / "seed.safetensors")
    assert seed.header.layout == expansion.gene_layout(final, final.seed.components)
    assert all(np.isfinite(array).all() for array in seed.all().values())
    log = json.loads((tmp_path / "out" / bake.LOG).read_text())
    assert log["seed"] == final.seed.sha256
    assert log["corpus"] == {"images": 78, "classes": 3}
    assert [row["step"] for row in log["log"]] == [100, 200, 205]
    assert {row["size"] for row in log["held_out"]} == {str(Size(d, h)) for d in (1, 3, 5) for h in (1, 2)}
    assert not (tmp_path / "out" / bake.CHECKPOINT).exists()


@pytest.mark.slow
def test_a_baking_that_was_cut_short_ends_with_the_same_seed(corpus, teacher, tmp_path):
    whole = bake.bake_folder(BLUEPRINT, corpus, tmp_path / "whole", teacher=teacher, recipe=RECIPE)
    with pytest.raises(CutShortError):
        bake.bake_folder(BLUEPRINT, corpus, tmp_path / "cut", teacher=teacher, recipe=RECIPE, progress=cut_at(150))
    assert (tmp_path / "cut" / bake.CHECKPOINT).exists()
    again = bake.bake_folder(BLUEPRINT, corpus, tmp_path / "cut", teacher=teacher, recipe=RECIPE)
    assert again.seed.sha256 == whole.seed.sha256


def test_a_checkpoint_of_another_recipe_is_refused(corpus, tmp_path):
    with pytest.raises(CutShortError):
        bake.bake_folder(BLUEPRINT, corpus, tmp_path, recipe=RECIPE, progress=cut_at(101))
    with pytest.raises(Refused) as refusal:
        bake.bake_folder(BLUEPRINT, corpus, tmp_path, recipe=bake.BakeRecipe(steps=205, batch=4, lr=1e-4))
    assert refusal.value.reason == "DATA_CHANGED"


@pytest.mark.slow
def test_baking_from_classes_alone_learns_to_name_them(corpus):
    oven = bake.Oven(BLUEPRINT, bake.read_corpus(corpus, 16), bake.BakeRecipe(steps=200, batch=16, inverted=0.0))
    oven.bake(lambda _done, _total, _note: None)
    assert oven.held_out(BLUEPRINT.reference)["accuracy"] == 1.0


def test_held_out_images_are_of_every_class_and_never_trained_on(corpus):
    oven = bake.Oven(BLUEPRINT, bake.read_corpus(corpus, 16), RECIPE)
    assert not set(oven.held) & set(oven.trained)
    assert oven.corpus.labels[oven.held].tolist() == [0, 1, 2]


@pytest.mark.parametrize("components", [3, 2])
@pytest.mark.parametrize("size", [Size(3, 2), Size(1, 1), Size(2, 1), Size(5, 2)])
def test_what_is_trained_at_a_size_is_what_the_gene_expands_to(size, components):
    seed = BLUEPRINT.seed.model_copy(update={"components": components})
    blueprint = BLUEPRINT.model_copy(update={"seed": seed})
    net = {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name)))
        for name, tensor in layers.fresh(blueprint, torch.Generator().manual_seed(0)).items()
    }
    ours = layers.at_size(blueprint, size, net)
    plan = expansion.expand(expansion.plan(blueprint, size, components), layers.gene(blueprint, net))
    assert set(ours) == set(plan)
    assert all(torch.allclose(ours[name], plan[name], atol=1e-6) for name in plan)


def test_whitening_evens_out_the_axes_without_forgetting_their_order():
    rng = np.random.default_rng(2)
    features = rng.standard_normal((500, 6)) * [100, 10, 1, 1, 1, 1]
    white = whiten(features.astype(np.float32), keep=3)
    assert white.shape == (500, 3)
    assert np.mean(white**2) == pytest.approx(1.0, rel=1e-3)
    spread = white.std(axis=0)
    assert spread[0] / spread[1] == pytest.approx(10**0.5, rel=0.1)


def test_a_bundled_blueprint_is_known_by_name_and_another_is_not():
    assert bake.bundled("nano-32").name == "nano-32"
    with pytest.raises(NotFound):
        bake.bundled("nano-31")


def test_measuring_says_what_each_size_is_worth_and_how_keys_are_scaled(corpus, tmp_path):
    folder = tmp_path / "tiny"
    before = write_seed(folder, np.random.default_rng(3))
    found = bake.measure_folder(folder, corpus, corpus, draws=2)
    assert parse_blueprint((folder / "blueprint.json").read_bytes()) == found
    assert found.seed == before.seed
    rows = {row.size(): row for row in found.measured}
    assert list(rows) == found.sizes()
    assert all(0 <= float(row.score) <= 1 and row.params == before.params(size) for size, row in rows.items())
    assert max(float(row.score) for row in rows.values()) > 0.6, "classes that differ in brightness are told apart"
    images = bake.read_corpus(corpus, 16).images
    seed = measure.seed_gene(before, folder / "seed.safetensors")
    features = net.embed(before, before.key.size(), embedding.seed_weights(before, seed), images)
    kept = embedding.standard(found, features).norm(dim=1)
    clip = float(found.key_space.clip)
    assert float(kept.max()) <= clip * (1 + 1e-9)
    assert 0.8 < float((kept > clip * 0.999).double().mean()) < 1
    report = json.loads((folder / "bake.json").read_bytes())["measured"]
    assert report == {
        "shots": 5,
        "draws": 2,
        "domains": {"drawn": 2, "photos": 1},
        "images": 78,
        "key_images": 78,
    }
    again = bake.measure_folder(folder, corpus, corpus, draws=2)
    assert again == found


@pytest.mark.parametrize(("head_dim", "width"), [(16, 32), (48, 48), (97, 194)])
def test_keys_of_many_features_are_folded_where_they_can_be(corpus, head_dim, width):
    blueprint = tiny_blueprint(head_dim=head_dim)
    seed = net.as_tensors(seed_gene(blueprint, np.random.default_rng(0)))
    space = measure.embedding_space(blueprint, seed, bake.read_corpus(corpus, 16))
    assert (len(space.centre), space.width) == (2 * head_dim, width)
    lengths = embedding.standard(blueprint.model_copy(update={"key_space": space}), torch.randn(9, 2 * head_dim))
    assert lengths.shape == (9, width)


def test_domains_without_enough_images_are_no_measure(corpus, tmp_path):
    write_seed(tmp_path / "tiny", np.random.default_rng(3))
    few = tmp_path / "few"
    for name in CLASSES:
        (few / name).mkdir(parents=True)
        (few / name / "0.png").write_bytes((corpus / name / "000.png").read_bytes())
    with pytest.raises(InvalidInput) as caught:
        bake.measure_folder(tmp_path / "tiny", few, corpus, draws=1)
    assert caught.value.reason == "FOLDER_EMPTY"
