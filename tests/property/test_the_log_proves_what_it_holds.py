"""Laws of the log's tree: every proof verifies, no changed one does, and the tree is the RFC's."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.trust import merkle
from genepool_protocol.wire.errors import VerificationError

MOST = 70


def leaves(count: int, salt: int = 0) -> list[bytes]:
    return [merkle.leaf_hash(b"%d.%d" % (salt, number)) for number in range(count)]


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + root_of(hashes[:k]) + root_of(hashes[k:])).digest()


def refused(function, *args) -> None:
    with pytest.raises(VerificationError) as caught:
        function(*args)
    assert caught.value.reason == "PROOF_INVALID"


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def test_the_root_of_every_size_is_the_rfcs():
    hashes = leaves(MOST)
    tree = merkle.Tree(hashes)
    for size in range(MOST + 1):
        assert tree.root(size) == root_of(hashes[:size])
    assert merkle.Tree().root() == merkle.EMPTY_ROOT


def test_every_inclusion_proof_of_every_size_verifies():
    hashes = leaves(MOST)
    tree = merkle.Tree(hashes)
    for size in range(1, MOST + 1):
        for index in range(size):
            merkle.verify_inclusion(hashes[index], index, size, tree.inclusion(index, size), tree.root(size))


def test_every_consistency_proof_of_every_size_verifies():
    tree = merkle.Tree(leaves(MOST))
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            merkle.verify_consistency(old, new, tree.root(old), tree.root(new), tree.consistency(old, new))


@given(st.data())
def test_no_flipped_bit_of_an_inclusion_proof_passes(data):
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size, data.draw(st.integers(0, 9)))
    tree = merkle.Tree(hashes)
    proof, root = tree.inclusion(index, size), tree.root()
    parts = [hashes[index], root, *proof]
    which, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[which] = flipped(parts[which], bit)
    refused(merkle.verify_inclusion, parts[0], index, size, parts[2:], parts[1])


@given(st.data())
def test_an_inclusion_proof_holds_at_one_place_only(data):
    size = data.draw(st.integers(2, MOST))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    tree = merkle.Tree(hashes)
    proof = tree.inclusion(index, size)
    other = data.draw(st.integers(-2, MOST).filter(lambda i: i != index))
    refused(merkle.verify_inclusion, hashes[index], other, size, proof, tree.root())
    refused(merkle.verify_inclusion, hashes[index], index, size, [*proof, proof[0]], tree.root())
    refused(merkle.verify_inclusion, hashes[index], index, size, proof[:-1], tree.root())
    refused(merkle.verify_inclusion, hashes[index], index, size, [proof[0][:31], *proof[1:]], tree.root())


@given(st.data())
def test_no_flipped_bit_of_a_consistency_proof_passes(data):
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    tree = merkle.Tree(leaves(new))
    parts = [tree.root(old), tree.root(new), *tree.consistency(old, new)]
    which, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[which] = flipped(parts[which], bit)
    refused(merkle.verify_consistency, old, new, parts[0], parts[1], parts[2:])


@given(st.data())
def test_a_log_that_rewrote_an_old_leaf_cannot_prove_that_it_did_not(data):
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new))
    hashes = leaves(new)
    before = merkle.Tree(hashes).root(old)
    hashes[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"rewritten")
    tree = merkle.Tree(hashes)
    refused(merkle.verify_consistency, old, new, before, tree.root(), tree.consistency(old, new))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), max_size=12))
def test_forgetting_and_appending_gives_the_tree_of_what_is_left(steps):
    tree, held, made = merkle.Tree(), [], 0
    for grow, keep in steps:
        for _ in range(grow):
            held.append(merkle.leaf_hash(b"%d" % made))
            made += 1
            assert tree.append(held[-1]) == len(held) - 1
        tree.truncate(min(keep, len(held)))
        held = held[:keep]
        assert len(tree) == len(held)
        assert tree.root() == root_of(held)
    for index in range(len(held)):
        merkle.verify_inclusion(held[index], index, len(held), tree.inclusion(index, len(held)), tree.root())
