"""The list of defences that are taken out fits the code and the attack list; nothing is taken out here."""

from collections import Counter

import pytest

from tests.conformance.mutants import ATTACKS, MUTANTS, ROOT

MENDED = range(74, 107)
"""Attacks that the code of some day did not refuse."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.attack} {mutant.without}")
def test_a_defence_that_is_taken_out_is_there_once_and_tests_of_its_attack_must_fail(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert mutant.fails
    assert set(mutant.fails) <= set(ATTACKS[mutant.attack]["tests"])


def test_every_mended_attack_has_a_defence_that_is_taken_out():
    assert {attack for attack in MENDED if ATTACKS[attack].get("tests")} <= {mutant.attack for mutant in MUTANTS}
    assert not [twice for twice, count in Counter((m.attack, m.without) for m in MUTANTS).items() if count > 1]
