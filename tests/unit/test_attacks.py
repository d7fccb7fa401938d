"""The attack list is whole, and every test that it names exists."""

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ATTACKS = tomllib.loads((TESTS / "conformance" / "attacks.toml").read_text())["attack"]


@cache
def names(path: Path) -> set[str]:
    """The tests of a file; nothing is imported."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def test_every_attack_is_listed_once_and_in_order():
    assert [attack["number"] for attack in ATTACKS] == list(range(1, len(ATTACKS) + 1))
    assert len({attack["what"] for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack["number"]))
def test_an_attack_is_refused_by_tests_that_exist_or_its_gap_is_stated(attack):
    assert set(attack) <= {"number", "what", "tests", "gap"}
    assert attack.get("tests") or attack.get("gap")
    assert len(set(attack.get("tests", []))) == len(attack.get("tests", []))
    for test in attack.get("tests", []):
        path, _, name = test.partition("::")
        assert name.startswith("test_")
        assert name in names(TESTS / path), test


def test_the_threat_model_gives_these_numbers():
    whole = sum("gap" not in attack for attack in ATTACKS)
    partly = sum("gap" in attack and "tests" in attack for attack in ATTACKS)
    sentence = f"{whole} are refused by tests, {partly} in part, {len(ATTACKS) - whole - partly} are not"
    assert sentence in " ".join((TESTS.parent / "THREAT_MODEL.md").read_text().split())
