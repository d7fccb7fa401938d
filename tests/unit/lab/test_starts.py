"""Where nets start."""

import numpy as np
import pytest
import torch

from genepool_lab.benchmark import gradient_free, method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.starts import SEED, Start, single, uniform, weights_of
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.size import Size
from tests.support.images import blob

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def lab(tmp_path):
    made = Lab("nano-32", tmp_path / "store")
    count = algebra.elements(expansion.gene_layout(made.blueprint, made.blueprint.components))
    rng = np.random.default_rng(0)
    for name in (ONE, TWO):
        made.store.put(name, {}, {"delta": rng.normal(0, 0.01, count).astype(np.float16)})
    return made


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)


def test_weight_selection_at_the_reference_size_is_the_seed_s_net(lab):
    same(
        weights_of(lab, Start("selected"), lab.blueprint.reference),
        dict(weights_of(lab, SEED, lab.blueprint.reference)),
    )


def test_weight_selection_gives_every_size_its_shapes(lab):
    for size in (Size(2, 1), Size(3, 3), Size(12, 2)):
        expected = {name: tensor.shape for name, tensor in weights_of(lab, SEED, size).items()}
        assert {name: tensor.shape for name, tensor in weights_of(lab, Start("selected"), size).items()} == expected


def test_the_soup_is_the_mean_of_its_members(lab):
    size = Size(3, 2)
    one, two = (weights_of(lab, single(name), size) for name in (ONE, TWO))
    same(weights_of(lab, uniform([ONE, TWO]), size), {name: (one[name] + two[name]) / 2 for name in one})


def test_a_net_of_the_reference_size_comes_back_from_its_gene(lab):
    rng = np.random.default_rng(1)
    wanted = {
        name: (tensor.numpy() + rng.normal(0, 0.01, tensor.shape)).astype(np.float32)
        for name, tensor in method.reference_weights(lab).items()
    }
    lab.store.put("3" * 64, {}, {"delta": method.as_gene(lab, wanted)})
    found = weights_of(lab, single("3" * 64), lab.blueprint.reference)
    same(dict(found), {name: torch.from_numpy(value) for name, value in wanted.items()})


def test_the_gradient_free_search_is_bounded_and_repeats_itself(lab):
    rng = np.random.default_rng(0)
    labels = np.arange(10) % 2
    images = np.stack([blob(rng, int(label), 32) for label in labels])
    deltas = [method.thin_delta(lab, lab.delta(name)) for name in (ONE, TWO)]
    found = gradient_free.search(lab, deltas, images, labels, 8, rng=3)
    assert found == gradient_free.search(lab, deltas, images, labels, 8, rng=3)
    assert len(found) == 2
    assert max(map(abs, found)) <= 1.5
