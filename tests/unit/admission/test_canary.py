"""The canary on the seed that its limit was measured on; no learngene here is trained, only disturbed."""

import numpy as np
import pytest

from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.expansion import gene_layout
from genepool_server.admission.canary import ALONE, DOUBT, HARM, MERGED, Canary
from tests.support import genes
from tests.support import spoilers as s

BLUEPRINT, SEED_PATH = s.nano()
SEED = s.seed_of(BLUEPRINT, SEED_PATH)


@pytest.fixture(scope="module")
def canary():
    whole = tensors.TensorFile(SEED_PATH).flat(gene_layout(BLUEPRINT, BLUEPRINT.seed.components))
    return Canary(BLUEPRINT, whole.astype(np.float32))


def found(canary, delta, peers=()):
    return [finding.screen for finding in canary.findings(delta, peers)]


def test_the_public_set_tells_a_seed_from_an_untrained_net(canary):
    rng = np.random.default_rng(0)
    scrambled = Canary(BLUEPRINT, rng.permutation(canary.seed))
    assert canary.error([]) < 0.25 < scrambled.error([])


@pytest.mark.slow
def test_what_changes_little_passes_alone_and_in_a_merge(canary):
    peers = [0.3 * s.honest(BLUEPRINT, SEED, number) for number in range(2)]
    assert found(canary, 0.3 * s.honest(BLUEPRINT, SEED, 9), peers) == []


def test_attack_67_a_boosted_learngene_is_found_by_what_it_breaks(canary):
    boosted = 8 * s.honest(BLUEPRINT, SEED, 9)
    assert found(canary, boosted) == ["CANARY"]
    assert canary.error([(ALONE, boosted)]) - canary.error([]) > 2 * HARM


@pytest.mark.slow
def test_harm_that_honest_learngenes_of_another_blueprint_reach_waits_for_the_operator(canary):
    doubtful = 5 * s.honest(BLUEPRINT, SEED, 9)
    assert DOUBT < canary.error([(ALONE, doubtful)]) - canary.error([]) <= HARM
    assert found(canary, doubtful) == ["CANARY_DOUBT"]


def test_attack_67_a_permuted_learngene_is_found_by_what_it_breaks(canary):
    spoiled = s.permuted(BLUEPRINT, SEED + 0.3 * s.honest(BLUEPRINT, SEED, 9)) - SEED
    assert "CANARY" in found(canary, spoiled)


def test_attack_67_a_harmless_flip_and_a_harmless_noise_pass_the_canary(canary):
    """Which is why the screens look at directions: alone, these break nothing on public tasks."""
    mine = 0.3 * s.honest(BLUEPRINT, SEED, 9)
    assert found(canary, -mine) == []
    assert found(canary, s.noise(BLUEPRINT, mine)) == []


def test_what_is_not_a_number_does_not_pass(canary):
    broken = np.full_like(SEED, 900)  # finite, and the net overflows
    assert "CANARY" in found(canary, broken.astype(np.float32) * np.float32(1e30))


@pytest.mark.slow
def test_equal_input_gives_equal_findings_and_only_the_first_members_are_merged(canary):
    mine = 3 * s.honest(BLUEPRINT, SEED, 9)
    peers = [s.honest(BLUEPRINT, SEED, number) for number in range(MERGED)]
    first = list(canary.findings(mine, peers))
    assert first == list(canary.findings(mine, [*peers, 10 * mine]))


def test_a_blueprint_of_another_image_size_is_looked_at_too(tmp_path):
    blueprint = genes.write_seed(tmp_path, np.random.default_rng(0))
    seed = tensors.TensorFile(tmp_path / "seed.safetensors").flat(gene_layout(blueprint, blueprint.seed.components))
    assert 0 < Canary(blueprint, seed.astype(np.float32)).error([]) < 1


class Told(Canary):
    """Errors of merges as a table says, for what single learngenes are called."""

    def error(self, members):
        names = frozenset(int(array[0]) for _, array in members)
        return 0.9 if {0, 9} <= names else 0.2  # the newcomer 9 breaks every merge in which 0 is


def test_attack_one_owner_s_learngene_cannot_make_the_merge_reject_a_newcomer():
    told, newcomer = Told(BLUEPRINT, SEED), np.array([9])
    peers = [np.array([name]) for name in range(MERGED)]
    for others in ([peers[0]], peers[:2], peers):
        assert found(told, newcomer, others) == ["CANARY_DOUBT"]


class Broken(Told):
    """A newcomer that breaks every merge."""

    def error(self, members):
        names = frozenset(int(array[0]) for _, array in members)
        return 0.9 if 9 in names and len(names) > 1 else 0.2


def test_what_breaks_the_merge_whoever_is_in_it_is_rejected():
    told, newcomer = Broken(BLUEPRINT, SEED), np.array([9])
    peers = [np.array([name]) for name in range(MERGED)]
    assert found(told, newcomer, peers) == ["CANARY"]
    assert found(told, newcomer, peers[:1]) == ["CANARY_DOUBT"], "one other member is one owner's word"
