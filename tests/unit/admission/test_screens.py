"""Screens against the spoilers and copies of the attack list, on the seed that their limits were measured on."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from genepool_server.admission import copies, profile, screens
from genepool_server.admission.screening import COMPARED, ActiveMember, Reviewer, judges_of
from tests.support import spoilers as s

BLUEPRINT, SEED_PATH = s.nano()
SEED = s.seed_of(BLUEPRINT, SEED_PATH)
SITES = 6
SALT = b"a secret of the pool"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A reviewer, and six honest members of six sites."""
    return World(tmp_path_factory.mktemp("members"))


class World:
    def __init__(self, folder):
        self.folder, self.reviewer = folder, Reviewer(BLUEPRINT, SEED_PATH, SALT)
        self.deltas = [s.honest(BLUEPRINT, SEED, number) for number in range(SITES)]
        self.members = [self.member(f"{number:064x}", delta) for number, delta in enumerate(self.deltas)]

    def write(self, name, delta):
        path = self.folder / f"{name}.safetensors"
        path.write_bytes(s.file(BLUEPRINT, delta))
        return path

    def member(self, name, delta, own=False, site=None, index=0):
        return ActiveMember(name, name, self.write(name, delta), own, site or f"site-{name}", index)

    def found(self, delta, members=None, withdrawn=()):
        members = self.members if members is None else members
        findings = self.reviewer.review(self.write("candidate", delta), members, withdrawn, canary=False)
        return [finding.screen for finding in findings]


@pytest.fixture
def mine():
    """An honest learngene of a seventh site."""
    return s.honest(BLUEPRINT, SEED, 100)


# -- honest ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [0, 1, 3, 4, SITES])
def test_honest_sites_pass_however_many_are_there(world, present):
    for number in range(200, 206):
        assert world.found(s.honest(BLUEPRINT, SEED, number), world.members[:present]) == []


def test_a_briefly_trained_and_a_long_trained_site_pass(world, mine):
    assert world.found(0.3 * mine) == []
    assert world.found(4 * mine) == []


def test_a_block_that_is_zero_in_the_seed_may_be_learned(mine):
    seed = SEED.copy()
    for where in profile.blocks(profile.layout_of(BLUEPRINT))["a1.norm"]:
        seed[where] = 0
    assert list(screens.block_norms(screens.Subject(BLUEPRINT, seed, mine))) == []


def test_a_learngene_of_zeros_is_held_and_nothing_breaks(world):
    assert set(world.found(np.zeros_like(SEED))) == {"NORM_RATIO", "DIRECTION"}
    assert world.found(np.zeros_like(SEED), []) == []


def test_what_is_found_is_the_same_again_and_in_another_process_s_order(world, mine):
    spoiled = s.noise(BLUEPRINT, mine)
    path = world.write("again", spoiled)
    first = world.reviewer.review(path, world.members, canary=False)
    assert first
    fresh = Reviewer(BLUEPRINT, SEED_PATH, SALT)
    assert fresh.review(path, world.members[:2], canary=False) != first
    assert fresh.review(path, world.members, canary=False) == first


# -- attack 67 ---------------------------------------------------------------------------------------------------------


def test_attack_67_permuted_heads_and_units_are_rejected_even_in_an_empty_pool(world, mine):
    spoiled = s.permuted(BLUEPRINT, SEED + mine) - SEED
    for members in ([], world.members):
        assert {"BLOCK_NORM", "SYMMETRY"} <= set(world.found(spoiled, members))


def test_attack_67_a_few_permuted_units_are_rejected(world, mine):
    spoiled = s.permuted(BLUEPRINT, SEED + mine, 0.05, heads=False) - SEED
    assert "SYMMETRY" in world.found(spoiled, [])


@pytest.mark.parametrize("factor", [8, 2, 1.5])
def test_attack_67_rescaled_queries_and_keys_are_rejected_even_in_an_empty_pool(world, mine, factor):
    assert "SYMMETRY" in world.found(s.rescaled(BLUEPRINT, SEED + mine, factor) - SEED, [])


def test_attack_67_a_permuted_difference_is_held(world, mine):
    assert set(world.found(s.permuted(BLUEPRINT, mine))) == {"DIRECTION"}


def test_attack_67_a_boosted_learngene_is_rejected_even_in_an_empty_pool(world, mine):
    assert "BLOCK_NORM" in world.found(10 * mine, [])
    assert {"BLOCK_NORM", "NORM_RATIO"} <= set(world.found(10 * mine))
    assert world.found(5.5 * mine) == ["NORM_RATIO"], "less boosted, it is held; what it breaks, the canary sees"


def test_attack_67_a_flipped_learngene_is_rejected_once_there_is_a_member(world, mine):
    assert "OPPOSED" in world.found(-mine)
    assert world.found(-mine, world.members[:3]) == ["OPPOSED"]
    assert world.found(-mine, world.members[:1]) == ["OPPOSED_DOUBT"], "one owner's word holds and does not reject"
    assert world.found(-mine, []) == [], "the first member of a pool has nobody to be compared with"


def test_attack_67_noise_of_the_right_length_is_held_once_there_is_a_member(world, mine):
    for number in range(5):
        assert set(world.found(s.noise(BLUEPRINT, mine, number), world.members[:1])) == {"DIRECTION"}
        assert set(world.found(s.noise(BLUEPRINT, mine, number))) == {"DIRECTION"}


def test_attack_67_a_site_cannot_vouch_for_itself(world, mine):
    spoiled = s.noise(BLUEPRINT, mine)
    own = [world.member(f"own-{n}", spoiled + s.noise(BLUEPRINT, 3 * mine, n), own=True) for n in range(1, 6)]
    assert set(world.found(spoiled, [*world.members, *own])) == {"DIRECTION"}


# -- attack 68 ---------------------------------------------------------------------------------------------------------


def disguises():
    """Ways to hand in another's learngene as one's own."""
    return {
        "rounded": lambda delta: delta * np.float32(1.001),
        "shrunk": lambda delta: delta * np.float32(0.4),
        "with noise": lambda delta: delta + 0.6 * s.noise(BLUEPRINT, delta),
        "mixed with one's own": lambda delta: delta + 0.6 * s.honest(BLUEPRINT, SEED, 300),
        "flipped": lambda delta: -delta,
        "permuted": partial(s.permuted, BLUEPRINT),
        "permuted with noise": lambda delta: s.permuted(BLUEPRINT, delta) + 0.5 * s.noise(BLUEPRINT, delta),
        "rescaled": lambda delta: s.rescaled(BLUEPRINT, delta, 3),
        "permuted and rescaled": lambda delta: s.rescaled(BLUEPRINT, s.permuted(BLUEPRINT, delta), 2),
    }


@pytest.mark.parametrize("disguise", disguises().values(), ids=disguises().keys())
def test_attack_68_a_near_copy_is_rejected_however_it_is_disguised(world, disguise):
    assert "NEAR_COPY" in world.found(disguise(world.deltas[2]), world.members)


def test_a_learngene_of_images_of_the_same_kind_is_no_copy(world):
    alike = world.deltas[2] + 1.2 * s.honest(BLUEPRINT, SEED, 300)
    assert 0.6 < profile.cosine(alike, world.deltas[2]) < 0.75, "more than sites with shares of one data set have"
    assert world.found(alike) == []


def test_attack_68_a_near_copy_of_one_s_own_is_rejected_until_that_is_withdrawn(world, mine):
    copy = mine + 0.2 * s.noise(BLUEPRINT, mine)
    assert world.found(copy, [*world.members, world.member("own", mine, own=True)]) == ["NEAR_COPY"]
    assert world.found(copy) == []


def test_attack_68_a_near_copy_is_found_behind_the_members_that_are_compared_with_in_full(world):
    crowd = [world.member(f"{n:064x}", s.honest(BLUEPRINT, SEED, 1000 + n)) for n in range(COMPARED + 3)]
    last = s.honest(BLUEPRINT, SEED, 1000 + COMPARED + 2)
    assert "NEAR_COPY" in world.found(last + 0.3 * s.noise(BLUEPRINT, last), crowd)


# -- who came first ----------------------------------------------------------------------------------------------------


def gone(delta, own=False, index=0, by_operator=False):
    """What is kept of a learngene that was withdrawn."""
    made = profile.profile(BLUEPRINT, delta, SALT)
    return copies.WithdrawnSketch(
        f"{index:064x}", own, index, by_operator, copies.Sketch(made.direction, made.products)
    )


@pytest.mark.parametrize("disguise", disguises().values(), ids=disguises().keys())
def test_attack_what_was_withdrawn_does_not_come_back_from_another_site_however_it_is_disguised(world, disguise):
    """Where the sketch leaves a doubt, the operator is asked."""
    found = world.found(disguise(world.deltas[2]), [], [gone(world.deltas[2])])
    assert found[0] in ("NEAR_COPY", "RETURNED")


def test_what_was_withdrawn_alarms_no_honest_site(world):
    kept = [gone(delta, index=index) for index, delta in enumerate(world.deltas)]
    for number in range(200, 210):
        assert world.found(s.honest(BLUEPRINT, SEED, number), world.members, kept) == []


def test_attack_the_owner_of_what_was_withdrawn_wins_over_a_later_foreign_copy(world, mine):
    variant, copy = (mine + 0.4 * s.noise(BLUEPRINT, mine, number) for number in (1, 2))
    foreign = world.member("foreign", copy, index=5)
    before = [gone(mine, own=True, index=3)]
    assert world.found(variant, [foreign], before) == ["FOREIGN_COPY"]
    assert world.found(variant, [], [*before, gone(copy, index=5)]) == [], "a copy that is gone harms nobody"
    assert world.found(variant, [foreign], [gone(mine, own=True, index=7)]) == ["NEAR_COPY"], "who came later has none"
    assert world.found(copy, [], [gone(mine, index=3)]) == ["NEAR_COPY"]


def test_what_the_operator_withdrew_comes_back_only_by_the_operator_s_word(world, mine):
    variant = mine + 0.3 * s.noise(BLUEPRINT, mine)
    assert world.found(variant, [], [gone(mine, own=True)]) == []
    assert world.found(variant, [], [gone(mine, own=True, by_operator=True)]) == ["RETURNED"]


def test_attack_who_does_not_know_the_salt_cannot_hide_a_copy_from_sketches(mine):
    """With signs that anybody knows, 4 % of the length made a copy's sketch zero."""
    guessed = s.blinded(mine, b"a salt that is known")
    assert profile.cosine(guessed, mine) > 0.99
    assert abs(profile.sketch(guessed, b"a salt that is known")).max() < 1e-2
    assert profile.cosine(profile.sketch(guessed, SALT), profile.sketch(mine, SALT)) > 0.9


# -- who judges --------------------------------------------------------------------------------------------------------


def test_attack_one_site_has_one_voice_however_many_it_contributed(world, mine):
    """Forty of one site, first in every order, that point away from an honest newcomer."""
    away = [world.member(f"away-{n}", s.noise(BLUEPRINT, mine, n) - mine, site="one") for n in range(3)]
    crowd = [replace(away[n % 3], contribution_id=f"{n:064x}") for n in range(COMPARED + 8)]
    assert [member.site for member in judges_of([*crowd, *world.members])].count("one") == 1
    assert "OPPOSED" not in world.found(mine, [*crowd, *world.members])
    assert "OPPOSED" not in world.found(mine, crowd), "and where it is the only one, it can only have it held"
    two = [replace(member, site=f"site {n % 2}") for n, member in enumerate(crowd)]
    assert "OPPOSED" not in world.found(mine, two)


# -- what they are made of ---------------------------------------------------------------------------------------------


def test_products_do_not_change_with_the_disguise_and_do_with_the_learngene(mine):
    views = partial(s.views, BLUEPRINT)
    own = profile.products(BLUEPRINT, views(mine))
    for same in (s.permuted(BLUEPRINT, mine), s.rescaled(BLUEPRINT, mine, 4)):
        assert profile.cosine(own, profile.products(BLUEPRINT, views(same))) > 0.999
    other = profile.products(BLUEPRINT, views(s.honest(BLUEPRINT, SEED, 101)))
    assert abs(profile.cosine(own, other)) < screens.NEAR_PRODUCTS / 3


def test_sketches_keep_cosines_within_the_slack(mine):
    rng = np.random.default_rng(3)
    for share in np.linspace(-1, 1, 21):
        other = share * mine + (1 - abs(share)) * s.noise(BLUEPRINT, mine, int(rng.integers(1000)))
        exact = profile.cosine(mine, other)
        assert abs(profile.cosine(profile.sketch(mine, SALT), profile.sketch(other, SALT)) - exact) < screens.SLACK


def test_nothing_is_remembered_of_a_member_that_left(world):
    reviewer = Reviewer(BLUEPRINT, SEED_PATH, SALT)
    path = world.write("candidate", s.honest(BLUEPRINT, SEED, 7))
    reviewer.review(path, world.members, canary=False)
    assert len(reviewer._profiles) == SITES
    reviewer.review(path, world.members[1:], canary=False)
    assert set(reviewer._profiles) == {member.sha256 for member in world.members[1:]}
