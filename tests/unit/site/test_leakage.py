"""Membership inference: what a key tells of single images is bounded; the leak of weights is looked at in every run."""

import numpy as np
import pytest

from genepool_client.pictures.images import image_set
from genepool_client.training import privacy as site_privacy
from genepool_protocol.learngene import algebra, expansion, privacy
from genepool_protocol.selection import net
from tests.benchmarks import leakage
from tests.support.genes import seed_gene, tiny_blueprint
from tests.support.images import blob

WIDTH, CLIP = 16, 4.0


@pytest.fixture(scope="module")
def vectors():
    """Standard features of one kind of image: a cloud whose every vector is as long as the clip."""
    rng = np.random.default_rng(0)
    found = rng.normal(0.5, 1.0, (400, WIDTH))
    return found * (CLIP / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.mark.parametrize("images", [20, 200])
def test_an_attacker_who_knows_all_other_images_is_held_to_the_bound(vectors, images):
    bound, _ = leakage.bounds(1.0, 1e-6)
    assert 0.56 < bound < 0.57
    sigma = float(site_privacy.sigma_of(CLIP, images, "1", "1e-6"))
    found = {}
    for noise in (0.0, sigma):
        rng = np.random.default_rng(1)
        pair = leakage.key_scores(vectors, images, noise, informed=True, trials=400, rng=rng)
        found[noise > 0] = leakage.auc(*pair)
    assert found[False] > 0.99, "without noise such an embedding gives every member away"
    assert found[True] < bound + 0.05  # three standard errors of 400 against 400


def test_the_bound_is_what_the_most_extreme_neighbours_allow():
    bound, share = leakage.bounds(1.0, 1e-6)
    ratio, rng = privacy.ratio_of(1.0, 1e-6), np.random.default_rng(2)
    members, others = ratio + rng.standard_normal(4000), rng.standard_normal(4000)
    assert leakage.auc(members, others) == pytest.approx(bound, abs=0.02)
    assert leakage.caught(members, others) == pytest.approx(share, abs=0.01)


def test_the_attack_finds_members_where_there_is_something_to_find():
    """Otherwise a low figure would only say that the attack is broken: five images without noise are no secret."""
    rng = np.random.default_rng(3)
    cloud = rng.normal(0, 1, (200, WIDTH))
    pair = leakage.key_scores(cloud, 5, 0.0, informed=False, trials=200, rng=rng)
    assert leakage.auc(*pair) > 0.8


def test_the_weights_of_a_site_do_not_give_its_members_away_to_a_simple_attack():
    """A gate with loose bounds: nothing is guaranteed for weights, but a change that makes them shout is noticed."""
    blueprint, rng = tiny_blueprint(), np.random.default_rng(4)
    seed = seed_gene(blueprint, rng)
    labels = np.arange(120) % 4
    images = image_set(np.stack([blob(rng, int(one), 16) for one in labels]), labels, list("abcd"))
    found = leakage.split(images, 60, "dots")
    assert not set(found.inside) & set(found.outside)
    delta = leakage.train(blueprint, seed, images, found)
    members, others = leakage.weight_scores(blueprint, net.as_tensors(seed), delta, images, found)
    assert len(delta) == algebra.elements(expansion.gene_layout(blueprint, blueprint.components))
    assert np.isfinite(members).all()
    assert np.isfinite(others).all()
    assert 0.2 < leakage.auc(members, others) < 0.85
