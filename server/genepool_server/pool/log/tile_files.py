"""The log's full tiles as files beside the ledger, in the layout of C2SP tlog-tiles.

They follow from the ledger and never change, so one that is missing is written again. Tiles that are not full are made
when they are asked for: writing them with every leaf would cost four syncs for each contribution.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from genepool_protocol.trust import tiles
from genepool_protocol.trust.tiles import WIDTH, Tile
from genepool_server import durable

Content = Callable[[Tile], bytes]
"""What a tile holds, from the ledger."""


def full(start: int, size: int) -> Iterator[Tile]:
    """The tiles that became full when the tree grew from `start` to `size` leaves."""
    for kind in ("tile/entries", "statements"):
        yield from (Tile(kind, number, WIDTH) for number in range(start // WIDTH, size // WIDTH))
    level, unit = 0, WIDTH
    while size // unit:
        yield from (Tile(f"tile/{level}", number, WIDTH) for number in range(start // unit, size // unit))
        level, unit = level + 1, unit * WIDTH


class TileFiles:
    """A folder of full tiles.

    Args:
        root: made when the first tile is.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._size = 0  # up to here every full tile is known to be there

    def extend(self, size: int, content: Content) -> None:
        """Make every full tile of a tree of that size durable; repeating it after it failed is fine.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        for tile in full(self._size, size):
            path = self._root / tile.path
            if not path.is_file():
                self._folders(path.parent)
                durable.write(path, content(tile), 0o644)
        self._size = size

    def read(self, tile: Tile) -> bytes | None:
        """A full tile's content; None when there is no such file."""
        path = self._root / tile.path
        return path.read_bytes() if tile.width == WIDTH and path.is_file() else None

    def wrong(self, size: int, content: Content) -> list[Tile]:
        """The full tiles of a tree of that size whose files are missing or differ from the ledger."""
        return [tile for tile in full(0, size) if self.read(tile) != content(tile)]

    def repair(self, size: int, content: Content) -> list[Tile]:
        """Write the wrong ones again; answers which they were.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        broken = self.wrong(size, content)
        for tile in broken:
            path = self._root / tile.path
            self._folders(path.parent)
            durable.write(path, content(tile), 0o644)
        return broken

    def _folders(self, folder: Path) -> None:
        if not folder.is_dir():
            self._folders(folder.parent)
            durable.mkdir(folder)


def export(target: Path, size: int, checkpoint: str, read: tiles.Read, witnessed: str = "") -> int:
    """A static copy of the log that any HTTP server can serve; the head comes last, when all that it covers is there.

    Args:
        target: a folder; one with an earlier copy is brought up to date.
        size: of the tree.
        checkpoint: its signed head.
        read: gives each tile.
        witnessed: the latest head with a quorum of cosignatures, at most of that size.

    Returns:
        How many files there are.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with durable.translated(target):
        target.mkdir(parents=True, exist_ok=True)
    count = 0
    for tile in tiles.tiles(size):
        path = target / tile.path
        count += 1
        if tile.width == WIDTH and path.is_file():
            continue  # it cannot have changed
        with durable.translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, read(tile.path), 0o644)
    for name, note in ((tiles.WITNESSED, witnessed), (tiles.CHECKPOINT, checkpoint)):
        if note:
            durable.write(target / name, note.encode(), 0o644)
            count += 1
    return count
