"""A verified folder as a timm model: stock timm and ours, every tensor accounted for."""

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import Head
from genepool_client.consumer.descendant.load import empty, load, put_weights
from genepool_client.consumer.descendant.verify import verify
from genepool_client.consumer.descendant.weights import read_weights
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import net, pixels
from genepool_protocol.wire.errors import GenepoolError


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def put_head(folder, rng, classes):
    weight, bias = rng.standard_normal((len(classes), 16)), rng.standard_normal(len(classes))
    head = Head(weight.astype(np.float32), bias.astype(np.float32))
    head_file.write(folder, head, classes, np.zeros((3, 4, 4, 3), np.uint8))
    return head


def test_the_model_without_a_head_answers_pooled_features(forge, folder, images):
    verified = verify(folder, forge.trusted)
    model = load(verified)
    assert isinstance(model, VisionTransformer)
    assert not model.training
    assert model.genepool == verified.lineage
    with torch.inference_mode():
        found = model(pixels.to_images(forge.blueprint, images))
    ours = net.embed(forge.blueprint, verified.lineage.size, read_weights(verified), images)
    torch.testing.assert_close(found, ours, rtol=1e-5, atol=1e-5)


def test_logits_are_our_features_through_the_closed_form_head(forge, folder, images, rng):
    head = put_head(folder, rng, ("cat", "dog", "emu"))
    verified = verify(folder, forge.trusted)
    model = load(verified)
    with torch.inference_mode():
        found = model(pixels.to_images(forge.blueprint, images)).numpy()
    features = net.embed(forge.blueprint, verified.lineage.size, read_weights(verified), images).numpy()
    np.testing.assert_allclose(found, features @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)
    assert model.pretrained_cfg["label_names"] == ["cat", "dog", "emu"]


def test_another_number_of_classes_gives_a_fresh_head_and_the_same_body(forge, folder, rng):
    head = put_head(folder, rng, ("cat", "dog"))
    model = load(verify(folder, forge.trusted), num_classes=7)
    assert model.head.weight.shape == (7, 16)
    assert not np.array_equal(model.head.weight.detach().numpy()[:2], head.weight)
    file = TensorFile(folder / descendant.MODEL_FILE)
    body = {name: tensor.numpy() for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    assert set(body) == {name for name in file.header.tensors if not name.startswith("head.")}
    for name, array in body.items():
        np.testing.assert_array_equal(array, file.array(name))


def test_the_model_says_how_to_prepare_images(forge, folder):
    found = resolve_model_data_config(load(verify(folder, forge.trusted)))
    assert found["input_size"] == (3, 16, 16)
    assert (found["mean"], found["std"]) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_stock_timm_loads_the_folder(forge, folder, images, rng):
    put_head(folder, rng, ("cat", "dog"))
    features = load(verify(folder, forge.trusted), num_classes=0)
    batch = pixels.to_images(forge.blueprint, images)
    with torch.inference_mode():
        expected = features(batch)
        for classes in (0, 5):
            stock = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=classes).eval()
            torch.testing.assert_close(stock.forward_head(stock.forward_features(batch), pre_logits=True), expected)
        as_written = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert as_written(batch).abs().max() == 0, "the head in model.safetensors is zero"


def test_a_folder_that_changes_after_verification_is_not_loaded(forge, folder):
    verified = verify(folder, forge.trusted)
    raw = bytearray((folder / descendant.MODEL_FILE).read_bytes())
    raw[-1] ^= 1
    (folder / descendant.MODEL_FILE).write_bytes(raw)
    with pytest.raises(GenepoolError) as caught:
        load(verified)
    assert caught.value.reason == "FOLDER_TAMPERED"


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_a_net_is_never_loaded_in_part(forge, folder, change):
    weights = dict(read_weights(verify(folder, forge.trusted)))
    if change == "missing":
        del weights["blocks.0.attn.qkv.weight"]
    if change == "more":
        weights["cls_token"] = torch.zeros(1, 1, 16)
    if change == "shape":
        weights["norm.weight"] = torch.zeros(8)
    with pytest.raises(GenepoolError) as caught:
        put_weights(empty(forge.blueprint, Size(2, 2), 3), weights, None)
    assert caught.value.reason == "ARCH_MISMATCH"


@pytest.mark.parametrize("size", [Size(1, 1), Size(3, 2), Size(5, 1)])
def test_every_size_loads(forge, members, tmp_path, size):
    verified = verify(forge.descend(tmp_path / "one", forge.order([(members[2], 1000)], size)), forge.trusted)
    model = load(verified, num_classes=4)
    assert (len(model.blocks), model.embed_dim) == (size.depth, 8 * size.heads)
    assert sum(p.numel() for n, p in model.named_parameters() if n[:4] != "head") == forge.blueprint.params(size)
