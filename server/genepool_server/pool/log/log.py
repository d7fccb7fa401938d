"""The log: leaves and signed heads in the ledger, the tree in memory, and what is published.

A leaf becomes visible in four steps: the transaction that stores it with its contribution and the signed head of the
grown tree; the tiles that it fills; the lock store; this object's `size`. Nothing is answered from beyond `size`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import receipt, tiles
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.envelope import Bundle, Verified
from genepool_protocol.trust.keys import LogSigner, LogVerifier
from genepool_protocol.trust.merkle import Tree, leaf_hash
from genepool_protocol.trust.terms import LogKeys
from genepool_protocol.trust.tiles import Tile
from genepool_protocol.wire.errors import Refused, StorageError, VerificationError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.log.published_head import NOTHING, HeadStore, Published
from genepool_server.pool.log.tile_files import TileFiles
from genepool_server.pool.rows import log_rows
from genepool_server.pool.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Appended:
    """A leaf inside a transaction, with its proof under the head that the transaction stores."""

    index: int
    body: bytes
    proof: list[bytes]
    head: Checkpoint


@dataclass(frozen=True, slots=True)
class _Visible:
    """What is published, replaced whole so that size and note always belong together."""

    head: Published
    note: str


class Log:
    """The one log of a pool, opened.

    Args:
        signer: signs the heads.
        keys: all that the log has had, the signer's the last of them.
        ledger: holds the leaves.
        lock_store: says what was published.
        files: full tiles.

    Raises:
        StorageError: LEDGER_INCONSISTENT, the ledger contradicts itself or is older than what was published.
    """

    def __init__(
        self, signer: LogSigner, keys: LogKeys, ledger: Ledger, lock_store: HeadStore, files: TileFiles
    ) -> None:
        self._signer = signer
        self.keys = keys
        self._ledger = ledger
        self._lock_store = lock_store
        self._files = files
        with ledger.read() as tx:
            self._tree = Tree(log_rows.leaf_hashes(tx))
            last = log_rows.last_checkpoint(tx)
        self._sure = True  # that the tree in memory is the one in the ledger
        self._visible = _Visible(lock_store.read(), "")
        self._settle(self._taken_over(self._check(last)))

    @property
    def key(self) -> LogVerifier:
        """The key that signs its heads now; its name is the log's origin."""
        return self._signer.public

    @property
    def size(self) -> int:
        """How many leaves are published."""
        return self._visible.head.size

    @property
    def checkpoint(self) -> str:
        """The signed head of the published tree, empty while that is."""
        return self._visible.note

    def published(self) -> tuple[str, int]:
        """The signed head of the published tree and its size, of one moment."""
        visible = self._visible
        return visible.note, visible.head.size

    def root(self, size: int) -> bytes | None:
        """Root of the tree when it had that size; None when it never had."""
        return self._tree.root(size) if 0 <= size <= len(self._tree) else None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction that may append; what it appended is published when the block has ended.

        Raises:
            StorageError: DISK_FULL, DISK_FAILED or LEDGER_INCONSISTENT. When only the lock store failed, the leaves
                are stored and `publish` makes up for it.
        """
        with self._ledger.writing:
            if self._sure:
                self.publish()  # the lock store may hold a head that could not be said to be there: one step at a time
            before = len(self._tree)
            try:
                with self._ledger.write() as tx:
                    self._catch_up(tx)
                    before = len(self._tree)
                    yield tx
            except BaseException:
                self._tree.truncate(before)
                self._sure = False
                raise
            self.publish()

    def _catch_up(self, tx: Connection) -> None:
        """Take in the leaves of a transaction that failed, if the database has made it durable all the same.

        A connection can be lost between the commit and its answer.
        """
        if not self._sure:
            for hashed in log_rows.leaf_hashes(tx, len(self._tree)):
                self._tree.append(hashed)
            self._sure = True

    def append(self, tx: Connection, verified: Verified) -> Appended:
        """Store a statement's leaf and the signed head of the tree that ends with it.

        Args:
            tx: of `transaction`.
            verified: the statement.

        Raises:
            StorageError: LEDGER_INCONSISTENT, the ledger holds other leaves than this process knows.
        """
        body = receipt.leaf(verified)
        hashed = leaf_hash(body)
        index = self._tree.append(hashed)
        head = heads.sign(index + 1, self._tree.root(), self._signer)
        log_rows.add_leaf(tx, index, body, verified.payload, hashed)
        log_rows.add_checkpoint(tx, head.size, head.note)
        return Appended(index, body, self._tree.inclusion(index, head.size), head)

    def receipt(self, bundle: Bundle, entry: Appended) -> bytes:
        """The proof that the log holds what was appended."""
        return receipt.make(bundle, entry.body, entry.index, entry.proof, entry.head)

    def publish(self) -> None:
        """Make what is stored visible: needed again only after the lock store failed.

        Raises:
            StorageError: DISK_FULL, DISK_FAILED or LEDGER_INCONSISTENT.
        """
        with self._ledger.writing:
            if not self._sure:
                with self._ledger.write() as tx:  # the writer, for its turn comes after whatever is still under way
                    self._catch_up(tx)
            if self.size == len(self._tree):
                return
            with self._ledger.read() as tx:
                last = log_rows.last_checkpoint(tx) or ""
            self._settle(last)

    def entries(self, start: int, count: int) -> list[bytes]:
        """Published leaves from `start` on, at most `count` and at most LIMITS.log_entries.

        Raises:
            Refused: LOG_RANGE.
        """
        size = self.size
        if not 0 <= start <= size or count < 1:
            raise _range(f"leaves from {start} on, {count} of them, were asked for; the log has {size}")
        with self._ledger.read() as tx:
            return log_rows.leaves(tx, start, min(count, LIMITS.log_entries, size - start))

    def tile(self, path: str) -> bytes:
        """A file of the log's static copy (C2SP tlog-tiles), by its path; `checkpoint` is not one of them.

        Raises:
            Refused: LOG_RANGE, there is none, or not yet.
        """
        tile, size = Tile.parse(path), self.size
        end = (tile.start + tile.width) << (8 * (tile.level or 0))
        if end > size:
            raise _range(f"the tile {path} was asked for, which ends with leaf {end}; the log has {size}")
        return self._files.read(tile) or self._content(tile)

    def repair(self) -> list[str]:
        """Write again what is missing or wrong among the files that follow from the ledger; answers their paths.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._ledger.writing:
            return [tile.path for tile in self._files.repair(self.size, self._content)]

    def _content(self, tile: Tile) -> bytes:
        if tile.level is not None:
            return tiles.hashes(self._tree, tile)
        rows = log_rows.leaves if tile.kind == "tile/entries" else log_rows.statements
        with self._ledger.read() as tx:
            return tiles.bundle(rows(tx, tile.start, tile.width))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of size `new` extends that of size `old`.

        Raises:
            Refused: LOG_RANGE.
        """
        size = self.size
        if not 0 <= old <= new <= size:
            raise _range(f"a proof from size {old} to size {new} was asked for; the log has {size} leaves")
        return self._tree.consistency(old, new)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of that size, leaf to root.

        Raises:
            Refused: LOG_RANGE.
        """
        if not 0 <= index < size <= self.size:
            raise _range(f"a proof of leaf {index} in {size} leaves was asked for; the log has {self.size}")
        return self._tree.inclusion(index, size)

    def _check(self, last: str | None) -> Checkpoint | None:
        size, published = len(self._tree), self._visible.head
        if published.size > size or self._tree.root(published.size) != published.root:
            raise _inconsistent(
                f"the log was published with {published.size} leaves, and the ledger does not continue that log "
                f"with its {size}: it looks like an older copy"
            )
        try:
            head = None if last is None else heads.verify(last, self.keys)
        except VerificationError as exc:
            raise _inconsistent("the ledger's last checkpoint is not signed by the log's key") from exc
        if (NOTHING if head is None else Published(head.size, head.root)) != Published(size, self._tree.root()):
            raise _inconsistent(f"the ledger's last checkpoint is not that of its {size} leaves")
        return head

    def _taken_over(self, head: Checkpoint | None) -> str:
        """The last head, by the key that signs now: one that took over signs it once more."""
        if head is None or head.key == self.key:
            return head.note if head else ""
        again = heads.sign(head.size, head.root, self._signer)
        with self._ledger.writing, self._ledger.write() as tx:
            log_rows.replace_checkpoint(tx, again.size, again.note)
        return again.note

    def _settle(self, note: str) -> None:
        new = Published(len(self._tree), self._tree.root())
        self._files.extend(new.size, self._content)
        if new != self._visible.head:
            self._lock_store.advance(self._visible.head, new)
        self._visible = _Visible(new, note)


def _range(sentence: str) -> Refused:
    return Refused("LOG_RANGE", sentence, "ask for a range inside the log; GetCheckpoint says how long it is")


def _inconsistent(sentence: str) -> StorageError:
    return StorageError(
        "LEDGER_INCONSISTENT", sentence, "run genepool-server fsck and restore the ledger's latest copy"
    )
