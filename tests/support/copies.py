"""Static copies of logs, honest or not, as a pool with these keys could write them."""

from pathlib import Path

from genepool_protocol.trust import checkpoint, events, merkle, tiles
from genepool_protocol.trust.keys import LogSigner, SigningKey, WitnessSigner
from tests.support import events as e
from tests.support.trust import OPERATOR, TrustRoot, trusted


class Copy:
    """The keys of a pool, and what its log holds; `write` puts it into a folder."""

    def __init__(self, entries=(), witnesses=(), quorum=0):
        self.log, self.release = LogSigner.generate(e.ORIGIN), SigningKey.generate()
        self.witnesses = [WitnessSigner.generate(name) for name in witnesses]
        self.quorum = quorum
        self.entries = [e.leaf(key or self.signer(payload), payload) for key, payload in entries]

    def signer(self, payload: bytes) -> SigningKey:
        """Whose word an event of the pool is."""
        event = events.parse(payload)
        return OPERATOR if event is not None and event.by_operator else self.release

    @property
    def trusted(self):
        keys = [one.public.vkey for one in self.witnesses]
        return trusted(self.log.public, self.release.public, witnesses=keys, quorum=self.quorum)

    def anchors(self, folder: Path):
        return TrustRoot(folder, self.trusted).anchors()

    @property
    def tree(self):
        return merkle.Tree(merkle.leaf_hash(body) for body, _ in self.entries)

    def head(self, size=None):
        tree = self.tree
        size = len(tree) if size is None else size
        return checkpoint.sign(size, tree.root(size), self.log)

    def write(self, folder: Path, head=None) -> Path:
        tree = self.tree
        for tile in tiles.tiles(len(tree)):
            part = self.entries[tile.start : tile.start + tile.width]
            if tile.level is not None:
                raw = tiles.hashes(tree, tile)
            else:
                raw = tiles.bundle([body if tile.kind == "tile/entries" else payload for body, payload in part])
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        (folder / "checkpoint").write_text((head or self.head()).note)
        return folder
