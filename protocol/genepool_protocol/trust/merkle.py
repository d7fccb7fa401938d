"""The log's tree: hashing of RFC 6962 section 2.1, proofs verified by the algorithms of RFC 9162 section 2.1."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from genepool_protocol.wire.errors import VerificationError

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
_HASH: Final = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


class Tree:
    """All hashes of the perfect subtrees of a growing log: about 64 bytes of memory per leaf.

    Args:
        leaves: leaf hashes, oldest first.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash; returns its index."""
        level = 0
        self._levels[0].append(leaf)
        while len(self._levels[level]) % 2 == 0:
            parent = _node(self._levels[level][-2], self._levels[level][-1])
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(parent)
        return len(self) - 1

    def truncate(self, size: int) -> None:
        """Forget the leaves from `size` on: for an append whose transaction failed."""
        for level, hashes in enumerate(self._levels):
            del hashes[size >> level :]

    def hashes(self, level: int, start: int, count: int) -> list[bytes]:
        """Roots of perfect subtrees of 2^level leaves, the `start`-th and the following ones."""
        return self._levels[level][start : start + count] if level < len(self._levels) else []

    def root(self, size: int | None = None) -> bytes:
        """Root over the first `size` leaves (all of them)."""
        return self._root(0, len(self) if size is None else size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of that size, leaf to root."""
        return self._path(index, 0, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of size `new` extends that of size `old`."""
        return [] if old in (0, new) else self._extension(old, 0, new, whole=True)

    def _root(self, begin: int, end: int) -> bytes:
        n = end - begin
        if n == 0:
            return EMPTY_ROOT
        if n & (n - 1) == 0 and begin % n == 0:
            return self._levels[n.bit_length() - 1][begin // n]
        k = _split(n)
        return _node(self._root(begin, begin + k), self._root(begin + k, end))

    def _path(self, index: int, begin: int, end: int) -> list[bytes]:
        n = end - begin
        if n == 1:
            return []
        k = _split(n)
        if index < k:
            return [*self._path(index, begin, begin + k), self._root(begin + k, end)]
        return [*self._path(index - k, begin + k, end), self._root(begin, begin + k)]

    def _extension(self, old: int, begin: int, end: int, *, whole: bool) -> list[bytes]:
        n = end - begin
        if old == n:
            return [] if whole else [self._root(begin, end)]
        k = _split(n)
        if old <= k:
            return [*self._extension(old, begin, begin + k, whole=whole), self._root(begin + k, end)]
        return [*self._extension(old - k, begin + k, end, whole=False), self._root(begin, begin + k)]


def _bad(why: str) -> VerificationError:
    return VerificationError("PROOF_INVALID", f"the log's proof does not hold: {why}")


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf hash stands at `index` of the tree with this size and root (RFC 9162 section 2.1.3.2).

    Raises:
        VerificationError: PROOF_INVALID.
    """
    if not 0 <= index < size:
        raise _bad("the index lies outside the tree")
    if any(len(node_hash) != _HASH for node_hash in (leaf, *proof)):
        raise _bad("a hash has not 32 bytes")
    first, last, computed = index, size - 1, leaf
    for node_hash in proof:
        if last == 0:
            raise _bad("it is too long")
        if first & 1 or first == last:
            computed = _node(node_hash, computed)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            computed = _node(computed, node_hash)
        first, last = first >> 1, last >> 1
    if last:
        raise _bad("it is too short")
    if computed != root:
        raise _bad("it leads to another root")


def verify_consistency(  # noqa: C901 - the steps of the RFC, one after the other
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of size `new` extends that of size `old` > 0 (RFC 9162 section 2.1.4.2).

    Raises:
        VerificationError: PROOF_INVALID.
    """
    if not 0 < old <= new:
        raise _bad("the sizes do not grow from at least one leaf")
    if any(len(node_hash) != _HASH for node_hash in proof):
        raise _bad("a hash has not 32 bytes")
    if old == new:
        if proof or old_root != new_root:
            raise _bad("two roots of one size differ")
        return
    if not proof:
        raise _bad("it is empty")
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = path[0]
    for node_hash in path[1:]:
        if last == 0:
            raise _bad("it is too long")
        if first & 1 or first == last:
            before, after = _node(node_hash, before), _node(node_hash, after)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            after = _node(after, node_hash)
        first, last = first >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise _bad("it leads to other roots")
