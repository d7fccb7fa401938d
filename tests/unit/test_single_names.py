"""What has a name is called by it: a file name that both sides must agree on is written once."""

import ast
from pathlib import Path

import pytest

from genepool_protocol.learngene.manifest import BUNDLE_FILE

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("protocol", "server", "client", "lab", "tests") for path in (ROOT / room).rglob("*.py")]


def test_the_signature_has_the_name_that_stock_model_signing_gives_it():
    assert BUNDLE_FILE == "model.sig"


@pytest.mark.parametrize(
    ("literal", "homes"),
    [("model.sig", ["protocol/genepool_protocol/learngene/manifest.py", "tests/unit/test_single_names.py"])],
)
def test_a_name_is_written_once(literal, homes):
    places = [str(path.relative_to(ROOT)) for path in SOURCES if literal in _strings(path)]
    assert sorted(places) == homes


def _strings(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
