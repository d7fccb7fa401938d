"""Every refusal for load says when to come back, wherever in the server it is written."""

import ast
from pathlib import Path

import genepool_server

LOAD = {"BUSY", "SPOOL_FULL", "TOO_MANY_UPLOADS", "RATE_EXCEEDED", "QUOTA_EXCEEDED", "TOO_SLOW"}


def refusals():
    """(place, whether it says when) of each `Unavailable(...)` of load in the server's code."""
    for path in Path(genepool_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Unavailable" and node.args:
                reason = node.args[0]
                if isinstance(reason, ast.Constant) and reason.value in LOAD:
                    yield f"{path.name}:{node.lineno}", any(word.arg == "retry_seconds" for word in node.keywords)


def test_every_refusal_for_load_says_when_to_come_back():
    found = dict(refusals())
    assert len(found) > len(LOAD)
    assert [place for place, says in found.items() if not says] == []
