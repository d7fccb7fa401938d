"""The log as static files that anybody can serve (C2SP tlog-tiles): 256 hashes or entries a file.

    checkpoint                    the signed head
    witnessed                     the latest head that the pool's quorum of witnesses cosigned; not part of C2SP
    tile/L/N[.p/W]                hashes of the tree, 2^(8L) leaves each
    tile/entries/N[.p/W]          leaves, each after its length in two bytes, big-endian
    statements/N[.p/W]            the signed statements of those leaves, in the same form: not part of C2SP, which has
                                  only the leaves; whoever audits needs what they are hashes of

N is written in groups of three digits, all but the last after an x: 1234067 is x001/x234/067. A tile that is not full
yet has the number of its hashes, W, in its name; a full one never changes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from genepool_protocol.trust.merkle import Tree
from genepool_protocol.wire.errors import Refused, VerificationError

CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "witnessed"
WIDTH: Final = 256
"""Hashes or entries of a full tile."""

_LONGEST: Final = 0xFFFF
_PATH: Final = re.compile(
    r"(tile/(?:[0-9]|[1-5][0-9]|6[0-3])|tile/entries|statements)/((?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/([1-9][0-9]{0,2}))?"
)


Read = Callable[[str], bytes]
"""Reads a file of the layout by its path."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile.

    Attributes:
        kind: `tile/L`, `tile/entries` or `statements`.
        number: the N-th of its kind.
        width: how many hashes or entries.
    """

    kind: str
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it lies."""
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"{self.kind}/{_digits(self.number)}{partial}"

    @property
    def level(self) -> int | None:
        """L of a tile of hashes; None for leaves and statements."""
        last = self.kind.rpartition("/")[2]
        return int(last) if last.isdigit() else None

    @property
    def start(self) -> int:
        """Number of its first hash or entry."""
        return self.number * WIDTH

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """The tile that a path names.

        Raises:
            Refused: LOG_RANGE, it names none.
        """
        match = _PATH.fullmatch(path)
        if match is not None:
            number, width = int(re.sub(r"[x/]", "", match[2])), int(match[3] or WIDTH)
            if _digits(number) == match[2] and (match[3] is None or width < WIDTH):
                return cls(match[1], number, width)
        raise Refused("LOG_RANGE", f"the log has no tile {path[:64]!r}", "paths are those of C2SP tlog-tiles")


def _digits(number: int) -> str:
    groups = re.findall(r"...", f"{number:0{-(-len(str(number)) // 3) * 3}d}")
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tiles(size: int) -> Iterator[Tile]:
    """Every tile of a tree of that size, partial ones last in their row: what a static copy holds beside the head."""
    for kind in ("tile/entries", "statements"):
        yield from _row(kind, size)
    level = 0
    while size:
        yield from _row(f"tile/{level}", size)
        level, size = level + 1, size // WIDTH


def _row(kind: str, count: int) -> Iterator[Tile]:
    for number in range(count // WIDTH):
        yield Tile(kind, number, WIDTH)
    if count % WIDTH:
        yield Tile(kind, count // WIDTH, count % WIDTH)


def hashes(tree: Tree, tile: Tile) -> bytes:
    """The content of a tile of hashes; shorter than asked for when the tree has no more of them."""
    return b"".join(tree.hashes(8 * (tile.level or 0), tile.start, tile.width))


def bundle(entries: Sequence[bytes]) -> bytes:
    """Leaves or statements as a file. A leaf has about 500 bytes, a statement less than LIMITS.bundle_bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unbundle(raw: bytes, count: int) -> list[bytes]:
    """The inverse of `bundle`.

    Raises:
        VerificationError: LOG_INVALID, it does not hold exactly so many.
    """
    entries, place = [], 0
    for _ in range(count):
        end = place + 2 + int.from_bytes(raw[place : place + 2], "big")
        if end > len(raw) or place + 2 > len(raw):
            raise VerificationError("LOG_INVALID", "a bundle of the log's entries ends too early", "fetch it again")
        entries.append(raw[place + 2 : end])
        place = end
    if place != len(raw):
        raise VerificationError("LOG_INVALID", "a bundle of the log's entries is too long", "fetch it again")
    return entries


def entries(read: Read, size: int, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Leaf and statement of every entry from `start` on.

    Raises:
        VerificationError: LOG_INVALID, a bundle is malformed.
        GenepoolError: what `read` raises.
    """
    for tile in _row("tile/entries", size):
        if tile.start + tile.width <= start:
            continue
        leaves = unbundle(read(tile.path), tile.width)
        statements = unbundle(read(Tile("statements", tile.number, tile.width).path), tile.width)
        yield from list(zip(leaves, statements, strict=True))[max(0, start - tile.start) :]


def longest_bundle(width: int) -> int:
    """The most bytes that a bundle of so many entries can have."""
    return width * (2 + _LONGEST)
