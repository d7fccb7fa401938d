"""A seed of a published net: the net itself at full depth, some of its layers at others, the same bytes each time."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import net, pixels
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_server import bake
from genepool_server.bake import published
from tests.support.genes import published_blueprint
from tests.support.refusals import reason_of

BLUEPRINT = published_blueprint()
DINOV2 = os.environ.get("GENEPOOL_DINOV2", "")
"""An .npz of the published ViT-S/14, by `lab/data/extract_dinov2.py`."""


def built(blueprint, **changes):
    """Timm's own net of the blueprint's reference size."""
    arguments = descendant.model_args(blueprint, blueprint.reference) | changes
    return timm.create_model(descendant.TIMM_ARCHITECTURE, num_classes=0, **arguments).eval()


@pytest.fixture(scope="module")
def weights():
    """A net as somebody might publish it, for larger images."""
    torch.manual_seed(0)
    model = built(BLUEPRINT, img_size=32)
    for name, tensor in model.state_dict().items():
        if name.endswith("gamma") or tensor.dim() == 1:
            tensor.add_(0.3 * torch.randn_like(tensor))
        elif "pos_embed" in name or "cls" in name:
            tensor.copy_(torch.randn_like(tensor))
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "published.npz"
    np.savez(path, **weights)
    return path


@pytest.fixture(scope="module")
def family(weights, tmp_path_factory):
    """A folder as a bundled blueprint without its seed."""
    folder = tmp_path_factory.mktemp("families")
    made = bake.write_blueprint(BLUEPRINT, published.gene_of(BLUEPRINT, weights), folder / "made", "F32")
    (folder / "named").mkdir()
    (folder / "named" / "blueprint.json").write_bytes(made.canonical())
    return folder


def answers(blueprint, folder, weights, model) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of random pictures: by the bytes of a full-depth descendant in a net of timm's, and by timm alone."""
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    seed = TensorFile(folder / "seed.safetensors").flat(layout).astype(np.float32)
    raw = descendant.build(blueprint, blueprint.reference, seed, [])
    body = np.frombuffer(raw[len(descendant.model_header(blueprint, blueprint.reference)) :], np.float32).copy()
    ours = built(blueprint)
    state = algebra.views(expansion.plan(blueprint, blueprint.reference, 1).layout, body)
    ours.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=True)
    # timm resamples the position table by itself
    state = checkpoint_filter_fn({name: torch.from_numpy(array) for name, array in weights.items()}, model)
    model.load_state_dict(state, strict=True)
    side = blueprint.image
    images = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    batch = pixels.to_images(blueprint, images)
    with torch.inference_mode():
        return ours(batch), model(batch)


def test_at_full_depth_a_descendant_is_the_published_net(weights, family):
    ours, theirs = answers(BLUEPRINT, family / "made", weights, built(BLUEPRINT))
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


@pytest.mark.skipif(not DINOV2, reason="GENEPOOL_DINOV2 names no file of the published weights (88 MB)")
def test_at_full_depth_vit_s14_is_the_published_dinov2(tmp_path):
    blueprint = bake.make_folder("vit-s14", Path(DINOV2), tmp_path)
    model = timm.create_model("vit_small_patch14_dinov2", img_size=blueprint.image, num_classes=0).eval()
    ours, theirs = answers(blueprint, tmp_path, published.read_weights(Path(DINOV2)), model)
    assert theirs.std() > 1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("depth", "picked"), [(2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
def test_a_shallower_descendant_is_made_of_the_published_layers(weights, depth, picked):
    gene = published.gene_of(BLUEPRINT, weights)
    found = expansion.expand(expansion.plan(BLUEPRINT, Size(depth, 2), 4), gene)
    for layer, source in enumerate(picked):
        for name in ("attn.qkv.weight", "ls1.gamma", "mlp.fc2.bias"):
            np.testing.assert_allclose(
                found[f"blocks.{layer}.{name}"], weights[f"blocks.{source}.{name}"], atol=1e-6, rtol=0
            )


def test_the_first_and_the_last_layer_are_in_every_depth_and_none_is_picked_twice():
    for reference in range(2, 25):
        for depth in range(2, reference + 1):
            picked = [expansion.place("dct-pick-v1", reference, layer, depth)[0] for layer in range(depth)]
            assert picked[0] == 0
            assert picked[-1] == reference - 1
            assert picked == sorted(set(picked))


def test_the_seed_that_a_blueprint_names_is_made_again_byte_for_byte(file, family, tmp_path):
    blueprint = bake.make_folder(str(family / "named"), file, tmp_path / "out")
    assert (tmp_path / "out" / "seed.safetensors").read_bytes() == (family / "made" / "seed.safetensors").read_bytes()
    assert parse_blueprint((tmp_path / "out" / "blueprint.json").read_bytes()) == blueprint


def test_other_weights_than_the_published_ones_are_refused_and_leave_nothing(weights, family, tmp_path):
    other = {name: array + (name == "norm.bias") for name, array in weights.items()}
    np.savez(tmp_path / "other.npz", **other)
    with pytest.raises(Refused) as refusal:
        bake.make_folder(str(family / "named"), tmp_path / "other.npz", tmp_path / "out")
    assert refusal.value.reason == "SEED_MISMATCH"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("change", ["no class token", "no layer", "another width", "another table", "one more"])
def test_a_net_of_another_family_is_named_by_the_first_tensor_that_differs(weights, change):
    other = dict(weights)
    if change == "no class token":
        del other["cls_token"]
    elif change == "no layer":
        other = {name: array for name, array in other.items() if not name.startswith("blocks.3.")}
    elif change == "another width":
        other["norm.weight"] = np.ones(17, np.float32)
    elif change == "another table":
        other["pos_embed"] = other["pos_embed"][:, :-1]
    else:
        other["reg_token"] = np.ones((1, 4, 16), np.float32)
    assert reason_of(published.gene_of, BLUEPRINT, other) == "ARCH_MISMATCH"


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_without_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    assert reason_of(published.read_weights, path) == "FILE_MALFORMED"


# -- baking from it ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 26)
    images = (rng.integers(0, 60, (78, 16, 16, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return bake.corpus.Corpus(images, labels, ["a", "b", "c"])


@pytest.fixture(scope="module")
def start(weights):
    return net.as_tensors(published.gene_of(BLUEPRINT, weights))


RECIPE = replace(bake.GENTLE, steps=120, batch=8, lr=2e-3, plain_lr=2e-3, warmup=2)


def test_baking_starts_at_the_published_net_and_teaches_its_smaller_sizes_to_be_like_it(corpus, start):
    oven = bake.Oven(BLUEPRINT, corpus, RECIPE, None, start)
    small = Size(2, 2)
    before = {size: oven.held_out(size)["features"] for size in (BLUEPRINT.reference, small)}
    assert before[BLUEPRINT.reference] < 1e-3
    assert before[small] > 0.3
    oven.bake(lambda _done, _total, _note: None)
    assert oven.held_out(small)["features"] < 0.7 * before[small]


@pytest.mark.slow
def test_a_baking_from_a_seed_that_was_cut_short_ends_with_the_same_seed(corpus, start, tmp_path):
    class CutShortError(Exception):
        pass

    def cut(done, _total, _note):
        if done == 110:
            raise CutShortError

    whole = bake.Oven(BLUEPRINT, corpus, RECIPE, None, start).bake(lambda _done, _total, _note: None)
    with pytest.raises(CutShortError):
        bake.Oven(BLUEPRINT, corpus, RECIPE, tmp_path / "bake.pt", start).bake(cut)
    again = bake.Oven(BLUEPRINT, corpus, RECIPE, tmp_path / "bake.pt", start)
    assert again.step == 100
    found = again.bake(lambda _done, _total, _note: None)
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    moved = start | {"norm.bias": start["norm.bias"] + 1}
    with pytest.raises(Refused) as refusal:
        bake.Oven(BLUEPRINT, corpus, RECIPE, tmp_path / "bake.pt", moved)
    assert refusal.value.reason == "DATA_CHANGED"


def test_a_teacher_beside_a_start_is_refused(family, tmp_path):
    with pytest.raises(InvalidInput) as refusal:
        bake.bake_folder(
            BLUEPRINT, tmp_path, tmp_path / "out", teacher=tmp_path, start=family / "made" / "seed.safetensors"
        )
    assert refusal.value.reason == "OPTION_INVALID"
