"""Domain embeddings against the noise that is claimed to be in them, and against those of other sites."""

import math

import numpy as np
import pytest

from genepool_protocol.learngene import manifest, privacy
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.admission import embeddings
from genepool_server.admission.embeddings import StatedEmbedding
from genepool_server.confined.screener import Screener
from genepool_server.pool.review_queue import ReviewPolicy
from tests.support import genes, spoilers
from tests.support import sites as c

NANO, _ = spoilers.nano()
RNG = np.random.default_rng(4)


def claimed(images):
    training = manifest.Training(images=images, classes=2, ancestry_steps=1, condense_steps=1, software="tests")
    return c.manifest_for(NANO, training=training, privacy=genes.privacy_for(NANO, images))


def sigma(images):
    return float(claimed(images).privacy.key.sigma)


def refused(stated, mean):
    with pytest.raises(GenepoolError) as caught:
        manifest.check_spread(stated, NANO, float(np.linalg.norm(mean)))
    return caught.value.reason


@pytest.mark.parametrize("images", [20, 100, 700, 10**5])
def test_attack_74_a_length_that_the_claimed_noise_cannot_give_is_refused(images):
    stated, clip, noise = claimed(images), float(NANO.embedding_frame.clip), sigma(images)
    assert refused(stated, np.zeros(64)) == "EMBEDDING_SPREAD"
    assert refused(stated, np.full(64, 0.45 * noise)) == "EMBEDDING_SPREAD"
    assert refused(stated, np.full(64, 1.002 * clip / 8 + 1.7 * noise)) == "EMBEDDING_SPREAD"


@pytest.mark.parametrize("images", [20, 100, 700, 10**5])
def test_honest_embeddings_pass_wherever_their_images_lie(images):
    stated, clip, noise = claimed(images), float(NANO.embedding_frame.clip), sigma(images)
    for length in (0.0, clip / 2, clip):
        direction = RNG.standard_normal(64)
        exact = length * direction / np.linalg.norm(direction)
        for _ in range(200):
            drawn = (exact + noise * RNG.standard_normal(64)).astype(np.float16)
            manifest.check_spread(stated, NANO, float(np.linalg.norm(drawn.astype(np.float32))))


def test_the_bounds_of_a_length_hold_the_stated_share():
    """Beside the exact quantiles of a chi-square of 64 degrees, 17.5 and 160.0, at one in a thousand million."""
    low, high = privacy.noise_lengths(64)
    assert 15.5 < 64 * low**2 < 17.6
    assert 159.9 < 64 * high**2 < 168
    for width, share in ((4, 1e-2), (64, 1e-2)):
        low, high = privacy.noise_lengths(width, share)
        lengths = np.sqrt(np.mean(RNG.standard_normal((20000, width)) ** 2, axis=1))
        assert np.mean(lengths < low) <= share
        assert np.mean(lengths > high) <= share


def test_attack_74_a_pool_refuses_an_embedding_of_zeros(world):
    gene = c.gene(world.blueprint, np.random.default_rng(3)) | {"key.mean": np.zeros(16, np.float16)}
    packed = world.site.pack(world.pool, c.tensors.encode(gene, "F16"))
    with pytest.raises(GenepoolError) as caught:
        c.submit(world.pool, packed)
    assert caught.value.reason == "EMBEDDING_SPREAD"


def one(name, site, mean, images=700):
    return StatedEmbedding(name * 64, site, np.asarray(mean, np.float32), sigma(images))


@pytest.mark.slow
def test_two_draws_from_the_very_same_images_pass():
    for images in (20, 700):
        for _ in range(300):
            pair = [one(name, name, sigma(images) * RNG.standard_normal(64), images) for name in "ab"]
            assert list(embeddings.copies(pair[0], pair[1:])) == []


@pytest.mark.parametrize("added", [0.0, 0.2, 0.45])
def test_attack_75_the_embedding_of_another_site_is_found_equal_or_nearly(added):
    owner = one("b", "owner", RNG.standard_normal(64))
    shift = added * math.hypot(owner.sigma, owner.sigma) * RNG.choice([-1, 1], 64)
    far = one("c", "other", owner.mean + 3)
    (finding,) = embeddings.copies(one("a", "thief", owner.mean + shift), [far, owner])
    assert finding.screen == "EMBEDDING_COPY"
    assert not finding.rejects
    assert "b" * 16 in finding.message


def test_a_site_may_use_its_own_embedding_again():
    mine = one("b", "owner", RNG.standard_normal(64))
    assert list(embeddings.copies(one("a", "owner", mine.mean), [mine])) == []


def test_attack_75_a_copied_embedding_waits_for_the_operator_and_its_owner_stays(world):
    c.submit(world.pool, world.packed)
    (owner,) = c.active(world.pool)
    theirs = c.tensors.TensorFile(owner.path).array("key.mean")
    gene = c.gene(world.blueprint, np.random.default_rng(8)) | {"key.mean": theirs}
    thief = c.join(world.pool, "thief")
    packed = thief.pack(world.pool, c.tensors.encode(gene, "F16"))
    copied = c.submit(world.pool, packed).contribution_id
    screener = Screener()
    try:
        loaded = world.pool.blueprint(c.BLUEPRINT)
        contribution = world.pool.contributions.get(copied)
        found = screener(loaded, contribution, world.pool.contributions.company(contribution))
    finally:
        screener.close()
    assert "EMBEDDING_COPY" in {finding.screen for finding in found}
    only = [finding for finding in found if finding.screen == "EMBEDDING_COPY"]
    assert ReviewPolicy().verdict(only, 1).state == "QUARANTINED"
    assert world.pool.contributions.get(owner.contribution_id).state == "ACTIVE"
