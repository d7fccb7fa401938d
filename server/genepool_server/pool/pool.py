"""The pool: the one writer of a folder, opened and closed here, and the parts by which everything is done to it.

Every method of a part blocks, may be called from any thread, and has made durable what it answers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from genepool_protocol.trust.witness import WitnessPolicy
from genepool_protocol.wire.errors import NotFound
from genepool_server.admission import content
from genepool_server.pool.contributions.contributions import Contributions
from genepool_server.pool.contributions.descendants import DescendantRecords
from genepool_server.pool.contributions.intake import Inspect, Intake
from genepool_server.pool.contributions.quotas import Quotas
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.contributions.sketching import Sketcher
from genepool_server.pool.contributions.uploads import Spool
from genepool_server.pool.contributions.withdrawal import Withdrawals
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.published_head import HeadStore
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.log.tile_files import TileFiles
from genepool_server.pool.log.witnessing import Cosigned
from genepool_server.pool.rows import site_rows, sketch_rows
from genepool_server.pool.sites.campaigns import Campaigns
from genepool_server.pool.sites.registrar import Registrar
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.folder import FolderLock, PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.pool.upkeep import creation
from genepool_server.pool.upkeep.upkeep import Upkeep
from genepool_server.records import LoadedBlueprint


class OpenPool:
    """A pool that is open in this process; made by `open`. Implements `serving.pool_view.PoolView`.

    Attributes:
        origin: name of the pool and its log.
        release_key: signs descendants.
        contributions: what it was given: contributing, deciding, withdrawing, reading.
        sites: who may contribute.
        campaigns: in which some of them are invited through Flower.
        log: what happened, for everybody.
        heads: the log's signed heads with the witnesses' cosignatures.
        upkeep: what is done to all weights at once.

    Args:
        folder: where it lies.
        resources: what must be closed in the end, the folder's lock among it.
        ledger: opened.
        blobs: the weights.
        automatic: whether a contribution that passes every check becomes active at once.
        witnesses: whose cosignatures are kept.
        quotas: what one site may take.
        inspect: checks the bytes of an upload.
    """

    def __init__(
        self,
        folder: PoolFolder,
        resources: ExitStack,
        ledger: Ledger,
        blobs: Blobs,
        *,
        automatic: bool,
        witnesses: WitnessPolicy,
        quotas: Quotas,
        inspect: Inspect,
    ) -> None:
        self._resources = resources
        with ledger.read() as tx:
            identity, sketched = site_rows.identity(tx), sketch_rows.any_sealed(tx)
        self._blueprints = creation.load_blueprints(folder.blueprints)
        blobs.require(creation.owner_of(identity))
        signers = folder.signers()
        folder.adopt(identity, signers)
        signer, keys = folder.log_signer(identity, signers), folder.pool_keys(signers)
        self.release_key = keys.release
        self.log = Log(signer, signers.log, ledger, HeadStore(folder.head), TileFiles(folder.tiles))
        self.origin = self.log.key.name
        self.heads = Cosigned(ledger, self.log, witnesses)
        notary = Notary(self.log, keys)
        self.sites = Registrar(ledger, notary)
        self.campaigns = Campaigns(folder.campaigns)
        intake = Intake(
            ledger=ledger,
            log=self.log,
            notary=notary,
            spool=Spool(folder.spool, quotas),
            blobs=blobs,
            blueprints=self._blueprints,
            nonce_key=identity.nonce_key,
            automatic=automatic,
            quotas=quotas,
            inspect=inspect,
        )
        sealer = Sealer(folder.data_keys, blobs)
        sketcher = Sketcher(ReviewSecret.ensure(folder.review_key, needed=sketched), blobs, self._blueprints)
        withdrawals = Withdrawals(ledger, self.log, notary, keys.operator, blobs, sealer, sketcher)
        descendants = DescendantRecords(ledger, notary)
        self.contributions = Contributions(ledger, self.log, notary, blobs, sketcher, intake, withdrawals, descendants)
        self.upkeep = Upkeep(folder, ledger, blobs, sealer, self.contributions)
        intake.recover()
        withdrawals.recover()

    @classmethod
    def create(
        cls,
        folder: Path,
        origin: str,
        blueprints: Sequence[Path],
        seeds: Sequence[Path] = (),
        storage: Storage = HERE,
    ) -> None:
        """Make an empty pool: keys, ledger, folders and copies of the blueprints. All or nothing, unless it is killed.

        Args:
            folder: exists, and holds nothing of a pool.
            origin: name of the pool and its log, for instance "pool.example/log".
            blueprints: folders with blueprint.json and seed.safetensors.
            seeds: files of seeds that lie in no such folder, known by their digests.
            storage: where ledger and weights will be; an empty database, and a prefix of no pool.

        Raises:
            NotFound: FILE_MISSING.
            InvalidInput: PATH_MISSING, PATH_NOT_EMPTY, NAME_INVALID (the origin), OPTION_INVALID (no blueprint, or two
                of one name), CONFIG_INVALID (the storage), FILE_MALFORMED, BLUEPRINT_MALFORMED, JSON_MALFORMED.
            Unavailable: STORE_UNAVAILABLE.
            Refused: SEED_MISMATCH, a seed is not the one that its blueprint names.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        creation.create(PoolFolder(folder), origin, blueprints, seeds, storage)

    @staticmethod
    def discard(folder: Path, storage: Storage = HERE) -> None:
        """Take away what `create` made, before anybody has seen it."""
        creation.discard(PoolFolder(folder), storage)

    @classmethod
    def open(
        cls,
        folder: Path,
        storage: Storage = HERE,
        *,
        automatic: bool = True,
        witnesses: WitnessPolicy | None = None,
        quotas: Quotas = Quotas(),  # noqa: B008 - frozen
        inspect: Inspect = content.check,
    ) -> Self:
        """The pool in a folder, whatever moment its last process was killed at.

        Args:
            folder: made by `create`.
            storage: the same as then.
            automatic: whether a contribution that passes every check becomes active at once, without an operator.
            witnesses: whose cosignatures of the log are kept.
            quotas: what one site may take; by default as much as it likes.
            inspect: checks 14 to 16 of an upload; by default in this process.

        Raises:
            NotFound: POOL_UNKNOWN.
            Unavailable: FOLDER_IN_USE, another process has it open; STORE_UNAVAILABLE.
            InvalidInput: OPTION_INVALID or CONFIG_INVALID, the storage is not this pool's, or cannot be used.
            StorageError: LEDGER_VERSION; LEDGER_INCONSISTENT, for instance when an older ledger was restored;
                BLOB_CORRUPT, a seed; DISK_FULL or DISK_FAILED.
        """
        place = PoolFolder(folder)
        database = storage.database(place)
        place.require(database)
        with ExitStack() as undo:
            undo.enter_context(FolderLock(place.lock))
            ledger = undo.enter_context(Ledger.open(database))
            blobs, policy = storage.store(place), witnesses or WitnessPolicy()
            pool = cls(
                place, undo, ledger, blobs, automatic=automatic, witnesses=policy, quotas=quotas, inspect=inspect
            )
            pool._resources = undo.pop_all()
            return pool

    def close(self) -> None:
        """Close the ledger and free the folder; a second call does nothing. Later calls of its parts fail."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def blueprints(self) -> list[LoadedBlueprint]:
        """Every blueprint, sorted by name."""
        return list(self._blueprints)

    def blueprint(self, name: str) -> LoadedBlueprint:
        """The blueprint of that name.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        for loaded in self._blueprints:
            if loaded.blueprint.name == name:
                return loaded
        names = ", ".join(loaded.blueprint.name for loaded in self._blueprints)
        raise NotFound("BLUEPRINT_UNKNOWN", f"the pool has no blueprint {name[:64]!r}", f"it has: {names}")
