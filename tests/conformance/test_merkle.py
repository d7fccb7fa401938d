"""transparency-dev/merkle: 98 inclusion and 98 consistency proofs, good and bad."""

import base64
import json

import pytest

from genepool_protocol.trust import merkle
from genepool_protocol.wire.errors import VerificationError


def cases(vectors, kind):
    found = sorted((vectors / "merkle" / kind).rglob("*.json"))
    assert len(found) == 98
    for path in found:
        yield path, json.loads(path.read_bytes())


def unb64(text) -> bytes:
    return base64.b64decode(text or "")


def proof(case) -> list[bytes]:
    return [unb64(one) for one in case["proof"] or []]


def holds(function, *args) -> bool:
    try:
        function(*args)
    except VerificationError as exc:
        return exc.reason != "PROOF_INVALID"
    return True


def test_inclusion(vectors):
    wrong = [
        path
        for path, case in cases(vectors, "inclusion")
        if holds(
            merkle.verify_inclusion,
            unb64(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            proof(case),
            unb64(case["root"]),
        )
        is case["wantErr"]
    ]
    assert not wrong


def test_consistency(vectors):
    wrong = []
    for path, case in cases(vectors, "consistency"):
        args = case["size1"], case["size2"], unb64(case["root1"]), unb64(case["root2"]), proof(case)
        # a tree without leaves proves nothing: stricter than the vectors, which wave two empty trees through
        expected = not case["wantErr"] and case["size1"] > 0
        if holds(merkle.verify_consistency, *args) is not expected:
            wrong.append(path)
    assert not wrong


@pytest.mark.parametrize("old", [0, -1])
def test_an_empty_tree_has_no_consistency_proof(old):
    with pytest.raises(VerificationError):
        merkle.verify_consistency(old, 5, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
