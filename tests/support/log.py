"""A log in memory: the protocol's own tree, leaves and checkpoints, without a disk."""

from genepool_protocol.trust import checkpoint, envelope, merkle, receipt
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.keys import LogSigner, SigningKey


class Log:
    """Appends bundles and gives receipts."""

    def __init__(self, name: str = "pool.local/log") -> None:
        self.signer = LogSigner.generate(name)
        self.tree = merkle.Tree()

    @property
    def key(self):
        return self.signer.public

    def head(self, size: int | None = None) -> Checkpoint:
        size = len(self.tree) if size is None else size
        return checkpoint.sign(size, self.tree.root(size), self.signer)

    def append(self, raw: bytes, key: SigningKey) -> tuple[int, bytes]:
        """Index and receipt of a bundle that the key signed."""
        bundle = envelope.parse(raw)
        body = receipt.leaf(envelope.verify(bundle, key.public))
        index = self.tree.append(merkle.leaf_hash(body))
        return index, self.receipt(bundle, body, index)

    def receipt(self, bundle, body: bytes, index: int, size: int | None = None) -> bytes:
        size = len(self.tree) if size is None else size
        return receipt.make(bundle, body, index, self.tree.inclusion(index, size), self.head(size))
