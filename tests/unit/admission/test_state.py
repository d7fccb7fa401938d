"""Checks 9 to 12: audience, chain, nonce, observed checkpoint, architecture."""

import base64
from datetime import timedelta

import numpy as np
import pytest

from genepool_protocol.learngene import privacy
from genepool_protocol.learngene.manifest import Observed, Training
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.admission import nonces
from tests.support import genes
from tests.support import sites as c


def reason_of(world, packed, now=c.NOW):
    with pytest.raises(GenepoolError) as caught:
        world.pool.contributions.intake.begin(packed.bundle, packed.manifest, now)
    assert not list((world.scratch / "pool" / "spool").iterdir()), "nothing is stored before it was checked"
    return caught.value.reason


def test_what_is_signed_for_another_pool_is_refused(world):
    assert reason_of(world, world.pack(pool="other.test/log")) == "AUDIENCE_MISMATCH"


def test_a_site_cannot_contribute_in_another_sites_name(world):
    other = c.join(world.pool, "site-b")
    packed = other.sign(world.packed.manifest, world.weights)
    assert reason_of(world, packed) == "SITE_MISMATCH"


def test_a_manifest_expires(world):
    packed = world.pack(not_after="2026-07-01T12:00:00Z")
    assert reason_of(world, packed, c.NOW + timedelta(seconds=1)) == "MANIFEST_EXPIRED"
    assert world.pool.contributions.intake.begin(packed.bundle, packed.manifest, c.NOW).committed_size == 0


def test_a_date_that_does_not_exist_is_refused(world):
    assert reason_of(world, world.pack(not_after="2026-13-41T12:00:00Z")) == "MANIFEST_MALFORMED"


def test_a_nonce_of_another_site_is_refused(world):
    c.join(world.pool, "site-b")
    nonce = world.pool.contributions.intake.begin_nonce("site-b", c.NOW).nonce
    assert reason_of(world, world.pack(nonce=nonce)) == "NONCE_INVALID"


def test_a_nonce_that_was_made_up_is_refused(world):
    assert reason_of(world, world.pack(nonce="A" * 43)) == "NONCE_INVALID"


def test_a_nonce_expires(world):
    packed = world.pack(not_after="2027-01-01T00:00:00Z")
    assert reason_of(world, packed, c.NOW + timedelta(days=1, seconds=1)) == "NONCE_INVALID"


def test_a_nonce_is_used_once(world):
    nonce = world.pool.contributions.intake.begin_nonce("site-a", c.NOW).nonce
    packed = world.pack(nonce=nonce)
    c.submit(world.pool, packed)
    assert reason_of(world, world.pack(nonce=nonce)) == "NONCE_INVALID"


def test_the_same_nonce_under_another_spelling_is_refused():
    key = b"k" * 32
    nonce = nonces.issue(key, "site-a", c.NOW + timedelta(hours=1))
    nonces.check(key, "site-a", nonce, c.NOW)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = nonce[:-1] + alphabet[alphabet.index(nonce[-1]) ^ 1]
    assert base64.urlsafe_b64decode(respelled + "=") == base64.urlsafe_b64decode(nonce + "=")
    with pytest.raises(GenepoolError) as caught:
        nonces.check(key, "site-a", respelled, c.NOW)
    assert caught.value.reason == "NONCE_INVALID"


def test_a_gap_in_the_sequence_is_refused(world):
    assert reason_of(world, world.pack(seq=3)) == "SEQ_GAP"


def test_a_number_that_was_used_for_another_statement_is_refused(world):
    c.submit(world.pool, world.packed)
    assert reason_of(world, world.pack(seq=1)) == "SEQ_CONFLICT"


@pytest.mark.parametrize("first", [True, False])
def test_another_predecessor_is_refused(world, first):
    if not first:
        c.submit(world.pool, world.packed)
    prev = "1" * 64 if first else "0" * 64
    assert reason_of(world, world.pack(prev=prev)) == "PREV_MISMATCH"


@pytest.mark.parametrize("observed", [
    Observed(size=0, root="A" * 43 + "="),
    Observed(size=1, root="A" * 43 + "="),
    Observed(size=1, root=""),
    Observed(size=2, root="A" * 43 + "="),
])  # fmt: skip
def test_a_site_that_saw_another_log_is_refused(world, observed):
    c.submit(world.pool, world.packed)
    assert reason_of(world, world.pack(observed=observed)) == "LOG_FORK"


def test_an_older_head_of_this_log_is_fine(world):
    c.submit(world.pool, world.packed)
    weights = c.weights_of(world.blueprint, np.random.default_rng(2))
    packed = world.site.pack(world.pool, weights, observed=Observed(size=0, root=""))
    assert world.pool.contributions.intake.begin(packed.bundle, packed.manifest, c.NOW).committed_size == 0


def test_a_learngene_of_another_blueprint_is_refused(world):
    assert reason_of(world, world.pack(blueprint="sha256:" + "1" * 64)) == "BLUEPRINT_UNKNOWN"


@pytest.mark.parametrize(
    "change",
    [
        lambda refs: refs[:-1],
        lambda refs: [*refs, refs[0].model_copy(update={"name": "extra"})],
        lambda refs: [refs[1], refs[0], *refs[2:]],
        lambda refs: [refs[0].model_copy(update={"name": "renamed"}), *refs[1:]],
        lambda refs: [refs[0].model_copy(update={"shape": [*refs[0].shape[:-1], 99]}), *refs[1:]],
        lambda refs: [refs[0].model_copy(update={"dtype": "F32"}), *refs[1:]],
    ],
    ids=["missing", "extra", "order", "name", "shape", "dtype"],
)
def test_tensors_that_are_not_the_blueprints_are_refused(world, change):
    assert reason_of(world, world.pack(tensors=change(c.tensor_refs(world.weights)))) == "ARCH_MISMATCH"


@pytest.mark.parametrize("size", [1, 1000, (64 << 20) + 8, 1 << 40])
def test_a_size_that_the_tensors_cannot_have_is_refused(world, size):
    file = c.file_ref(world.weights).model_copy(update={"size": size})
    assert reason_of(world, world.pack(file=file)) == "ARCH_MISMATCH"


def test_what_a_site_claims_about_its_privacy_is_kept_as_signed(world):
    claim = genes.privacy_for(world.pool.blueprint(c.BLUEPRINT).blueprint, epsilon="2.5", cumulative_epsilon="7")
    packed = world.pack(privacy=claim)
    done = c.submit(world.pool, packed)
    assert world.pool.contributions.get(done.contribution_id).manifest == packed.manifest


def test_what_all_keys_of_a_site_cost_cannot_shrink(world):
    blueprint = world.pool.blueprint(c.BLUEPRINT).blueprint
    first = world.pack(privacy=genes.privacy_for(blueprint, cumulative_epsilon="2.5"))
    c.submit(world.pool, first)
    weights = c.learngene_file(blueprint, np.random.default_rng(9))
    for spent, reason in (("2.4999", "PRIVACY_SHRINKS"), ("1", "PRIVACY_SHRINKS"), ("2.5", "")):
        claim = genes.privacy_for(blueprint, cumulative_epsilon=spent)
        again = world.site.pack(world.pool, weights, privacy=claim)
        if reason:
            assert reason_of(world, again) == reason
        else:
            assert world.pool.contributions.intake.begin(again.bundle, again.manifest, c.NOW).committed_size == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"epsilon": "0.999", "sigma": "0.337973"},
        {"sigma": "0.0001"},
        {"delta": "9e-7", "sigma": "0.337973"},
        {"epsilon": "0.0499"},
        {"delta": "9e-13"},
        {"delta": "1"},
        {"epsilon": "0"},
        {"epsilon": "-1"},
        {"sigma": "0"},
        {"sigma": "0.34"},
        {"sigma": "21.6"},
        {"clip": "3.9"},
        {"cumulative_epsilon": "0.5"},
    ],
    ids=str,
)
def test_a_claim_of_privacy_that_the_stated_noise_does_not_give_is_refused(world, lie):
    claim = genes.privacy_for(world.pool.blueprint(c.BLUEPRINT).blueprint, **lie)
    assert reason_of(world, world.pack(privacy=claim)) == "PRIVACY_CLAIM"


def test_attack_74_a_site_of_too_few_images_is_refused(world):
    blueprint = world.pool.blueprint(c.BLUEPRINT).blueprint
    for images, reason in ((1, "IMAGES_TOO_FEW"), (19, "IMAGES_TOO_FEW"), (20, "")):
        training = Training(images=images, classes=2, ancestry_steps=1, condense_steps=1, software="tests")
        packed = world.pack(training=training, privacy=genes.privacy_for(blueprint, images))
        if reason:
            assert reason_of(world, packed) == reason
        else:
            assert world.pool.contributions.intake.begin(packed.bundle, packed.manifest, c.NOW).committed_size == 0


@pytest.mark.parametrize("classes", [0, 1, 101])
def test_attack_74_images_that_cannot_show_the_stated_classes_are_refused(world, classes):
    training = Training(images=100, classes=classes, ancestry_steps=1, condense_steps=1, software="tests")
    assert reason_of(world, world.pack(training=training)) == "PRIVACY_CLAIM"


def test_attack_74_other_images_than_a_site_ever_stated_cost_another_budget(world):
    blueprint = world.pool.blueprint(c.BLUEPRINT).blueprint
    c.submit(world.pool, world.packed)
    weights = c.learngene_file(blueprint, np.random.default_rng(9))

    def again(images, total):
        training = Training(images=images, classes=4, ancestry_steps=1, condense_steps=1, software="tests")
        claim = genes.privacy_for(blueprint, images, cumulative_epsilon=total)
        return world.site.pack(world.pool, weights, training=training, privacy=claim)

    both = privacy.epsilon_of(privacy.ratio_of(1.0, 1e-6) * 2**0.5, 1e-6)
    assert reason_of(world, again(700, "1")) == "PRIVACY_SHRINKS"
    assert reason_of(world, again(99, f"{both - 0.01:.4f}")) == "PRIVACY_SHRINKS"
    for packed in (again(100, "1"), again(700, f"{both + 1e-4:.4f}")):
        assert world.pool.contributions.intake.begin(packed.bundle, packed.manifest, c.NOW).committed_size == 0
