"""The pool: the one writer of a folder, and the only way to its contributions. Sites: `registrar`; log: `publisher`.

    contributions:  QUARANTINED -> ACTIVE | REJECTED, and each of the three -> WITHDRAWN

Every method blocks, may be called from any thread, and has made durable what it answers.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.witness import WitnessPolicy
from genepool_protocol.wire.errors import NotFound
from genepool_server import durable
from genepool_server.admission import content
from genepool_server.admission.company import Company
from genepool_server.pool.contributions.decisions import Verdict, conclude, decide
from genepool_server.pool.contributions.intake import Inspect, Intake
from genepool_server.pool.contributions.quotas import Quotas
from genepool_server.pool.contributions.replies import Begun, Committed, Nonce, WithdrawalReply
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.contributions.sketching import Sketcher
from genepool_server.pool.contributions.uploads import Spool
from genepool_server.pool.contributions.withdrawal import Withdrawals
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.published_head import HeadStore
from genepool_server.pool.log.publisher import Publisher
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.log.tile_files import TileFiles
from genepool_server.pool.log.witnessing import Cosigned
from genepool_server.pool.rows import contribution_rows, site_rows, sketch_rows, withdrawal_rows
from genepool_server.pool.rows.pages import paged
from genepool_server.pool.sites.registrar import Registrar
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.folder import FolderLock, PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.pool.upkeep import creation
from genepool_server.pool.upkeep.backup import BackedUp, back_up, seal_all
from genepool_server.records import Contribution, ContributionStanding, Descended, LoadedBlueprint

__all__ = ["Begun", "Committed", "Nonce", "OpenPool"]

_T = TypeVar("_T")

_DOWNLOADS: Final = 8
"""Weights that are fetched at the same time."""


class OpenPool(Registrar, Publisher):
    """A pool that is open in this process; made by `open`. Implements `serving.pool_view.PoolView`.

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
        self._blobs = blobs
        blobs.require(creation.owner_of(identity))
        self.signers = folder.signers()
        folder.adopt(identity, self.signers)
        signer, self._keys = folder.log_signer(identity, self.signers), folder.pool_keys(self.signers)
        log = Log(signer, self.signers.log, ledger, HeadStore(folder.head), TileFiles(folder.tiles))
        Publisher.__init__(self, log, Cosigned(ledger, log, witnesses))
        Registrar.__init__(self, ledger, Notary(log, self._keys))
        self._intake = Intake(
            ledger=ledger,
            log=self._log,
            notary=self._notary,
            spool=Spool(folder.spool, quotas),
            blobs=self._blobs,
            blueprints=self._blueprints,
            nonce_key=identity.nonce_key,
            automatic=automatic,
            quotas=quotas,
            inspect=inspect,
        )
        self.arrived = threading.Event()
        """Set whenever a contribution was committed; whoever reviews them clears it."""
        self._folder = folder
        self._sealer = Sealer(folder.data_keys, self._blobs)
        secret = ReviewSecret.ensure(folder.review_key, needed=sketched)
        self._sketcher = Sketcher(secret, self._blobs, self._blueprints)
        self._withdrawals = Withdrawals(
            ledger, self._log, self._notary, self._keys.operator, self._blobs, self._sealer, self._sketcher
        )
        self._intake.recover()
        self._withdrawals.recover()

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
        """Close the ledger and free the folder; a second call does nothing. Later calls of other methods fail."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def release_key(self) -> SigningKey:
        """The key that signs descendants."""
        return self._keys.release

    # -- contributing (numbers of SPEC.md) -----------------------------------------------------------------------------

    def begin_nonce(self, site: str, now: datetime) -> Nonce:
        """A nonce for the site's next contribution, and where its chain stands. Writes nothing.

        Raises:
            NotFound: SITE_UNKNOWN.
            Refused: SITE_NOT_ACTIVE or KEY_REVOKED.
        """
        return self._intake.begin_nonce(site, now)

    def begin(self, bundle: bytes, manifest: bytes, now: datetime, caller: str | None = None) -> Begun:
        """Checks 3 to 12; a statement that passes them may upload its weights.

        Args:
            bundle: model.sig.
            manifest: manifest.json.
            now: the time.
            caller: the site that the certificate of the call names; None: nobody called, this is the pool's machine.

        Raises:
            InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED, MANIFEST_MALFORMED, DIGEST_MISMATCH,
                ARCH_MISMATCH.
            VerificationError: KEY_UNKNOWN, SIGNATURE_INVALID, LOG_FORK.
            Refused: SITE_NOT_ACTIVE, KEY_REVOKED, AUDIENCE_MISMATCH, SITE_MISMATCH, MANIFEST_EXPIRED, NONCE_INVALID,
                SEQ_GAP, SEQ_CONFLICT, PREV_MISMATCH, CERT_MISMATCH.
            NotFound: BLUEPRINT_UNKNOWN.
            Unavailable: TOO_MANY_UPLOADS, SPOOL_FULL, QUOTA_EXCEEDED.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._intake.begin(bundle, manifest, now, caller)

    def owner(self, upload_id: str) -> str:
        """The site whose upload or contribution that is.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
        """
        return self._intake.owner(upload_id)

    def lease(self, upload_id: str) -> int:
        """The right to write to an upload; it ends every earlier one.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._intake.spool.lease(upload_id)

    def append(self, upload_id: str, offset: int, data: bytes, lease: int) -> int:
        """Check 13: take a chunk; answers how many bytes are durable, which grows every LIMITS.fsync_bytes.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            Refused: OFFSET (with metadata committed_size), UPLOAD_SUPERSEDED.
            InvalidInput: CHUNK_TOO_LARGE, the chunk is, or it ends after the size in the manifest.
            StorageError: DISK_FULL or DISK_FAILED; nothing of the chunk was kept.
        """
        return self._intake.spool.append(upload_id, offset, data, lease)

    def finish(self, upload_id: str, lease: int) -> int:
        """Make everything durable and mark the upload as finished; answers its size.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            Refused: UPLOAD_SUPERSEDED, UPLOAD_INCOMPLETE (with metadata committed_size).
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._intake.spool.finish(upload_id, lease)

    def status(self, upload_id: str) -> tuple[int, bool]:
        """How many bytes are durable, and whether the upload is finished.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._intake.status(upload_id)

    def commit(self, upload_id: str, now: datetime) -> Committed:
        """Checks 3 to 12 again, 14 to 16 on the bytes, then the log entry. The same upload gives the same receipt.

        Raises:
            NotFound: UPLOAD_UNKNOWN, BLUEPRINT_UNKNOWN.
            Refused: UPLOAD_INCOMPLETE, DUPLICATE_WEIGHTS, and what `begin` refuses.
            InvalidInput: DIGEST_MISMATCH, SAFETENSORS_MALFORMED, ARCH_MISMATCH, NON_FINITE, NORM_BOUND: the bytes are
                discarded, the statement may begin again.
            VerificationError: as `begin`.
            StorageError: DISK_FULL or DISK_FAILED: commit again.
        """
        committed = self._intake.commit(upload_id, now)
        self.arrived.set()
        return committed

    # -- what was contributed ------------------------------------------------------------------------------------------

    def contributions(self) -> list[Contribution]:
        """Every contribution, in the order of the log, all at once."""
        return list(self.each_contribution())

    def each_contribution(self, prefix: str = "", *, brief: bool = False) -> Iterator[Contribution]:
        """Every contribution, in the order of the log; read page by page.

        Args:
            prefix: only those whose ids start so.
            brief: without manifest, receipt and key.
        """
        size, rows = self._log.size, contribution_rows.briefs if brief else contribution_rows.contributions
        return paged(
            lambda after, count: self._read(rows, self._blobs.path, size, prefix, after, count),
            lambda found: found.log_index,
            -1,
        )

    def contribution(self, contribution_id: str) -> Contribution:
        """The contribution, in whatever state it is.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        with self._ledger.read() as tx:
            contribution = contribution_rows.contribution(tx, self._blobs.path, contribution_id)
        if contribution is None or contribution.log_index >= self._log.size:
            raise unknown_contribution(contribution_id)
        return contribution

    def decide(self, contribution_id: str, state: Literal["ACTIVE", "REJECTED"], note: str) -> Contribution:
        """The operator's word on a quarantined contribution.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            Refused: STATE_TRANSITION.
        """
        decide(self._ledger, self._notary, self.contribution(contribution_id), state, note)
        return self.contribution(contribution_id)

    def unreviewed(self) -> list[Contribution]:
        """Quarantined contributions that no review has looked at, in the order of the log.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        self._log.publish()  # makes up for a conclusion that was stored, and whose head could not be shown
        with self._ledger.read() as tx:
            return contribution_rows.unreviewed(tx, self._blobs.path, self._log.size)

    def company(self, found: Contribution) -> Company:
        """Who judges a contribution, in which order, and what was withdrawn that it is compared with.

        Raises:
            StorageError: LEDGER_INCONSISTENT, a sketch does not open.
        """
        with self._ledger.read() as tx:
            active = contribution_rows.active(tx, self._blobs.path, self._log.size, found.blueprint_sha256, ())
            return self._sketcher.company(tx, found, active)

    def conclude(self, contribution_id: str, verdict: Verdict) -> Contribution:
        """What a review found: the contribution becomes active, is rejected, or is held for the operator.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            Refused: STATE_TRANSITION, it was decided or withdrawn meanwhile.
            StorageError: DISK_FULL or DISK_FAILED: conclude again.
        """
        conclude(self._notary, self.contribution(contribution_id), verdict)
        return self.contribution(contribution_id)

    def withdraw(self, bundle: bytes) -> WithdrawalReply:
        """End a contribution: logged and out of every selection at once, then erased. Again: the same answer.

        Args:
            bundle: a withdrawal that the contribution's site signed.

        Raises:
            InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED.
            VerificationError: KEY_UNKNOWN, SIGNATURE_INVALID.
            Refused: AUDIENCE_MISMATCH, SITE_MISMATCH, KEY_REVOKED.
            NotFound: CONTRIBUTION_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED: withdraw again.
        """
        return self._withdrawals.withdraw(bundle)

    def withdraw_as_operator(self, contribution_id: str, reason: str) -> WithdrawalReply:
        """The same, by the operator's word.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED: withdraw again.
        """
        return self._withdrawals.by_operator(self.contribution(contribution_id), reason)

    def gather(self) -> int:
        """Bring all weights to this machine, whole, where workers map them; answers how many there are.

        Raises:
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        live = [
            contribution.sha256
            for contribution in self.each_contribution(brief=True)
            if contribution.state != "WITHDRAWN"
        ]
        with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="genepool-gather") as threads:
            return len(list(threads.map(self._blobs.local, live)))

    def seal(self, folder: Path) -> tuple[int, int]:
        """Put a sealed copy of every contribution's weights into a folder, for a backup.

        Returns:
            How many were sealed now, and how many there are.

        Raises:
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
        """
        return seal_all(self._ledger, self._sealer, folder)

    def backup(self, folder: Path, keys: Path | None = None) -> BackedUp:
        """Write a backup of one moment into a folder, and a copy of the private keys into another.

        Raises:
            InvalidInput: PATH_NOT_EMPTY; OPTION_INVALID, inside the pool's folder.
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        return back_up(self._folder, self._ledger, self._sealer, folder, keys)

    def unseal(self, folder: Path) -> tuple[int, int]:
        """Put back the weights that the store lacks, from sealed copies.

        Returns:
            How many were put back, and how many contributions have weights.

        Raises:
            NotFound: FILE_MISSING, a copy or its data key is not there.
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
        """
        live = [entry for entry in self.each_contribution(brief=True) if entry.state != "WITHDRAWN"]
        missing = [entry for entry in live if not self._blobs.holds(entry.sha256)]
        for entry in missing:
            place = self._folder.root / entry.sha256
            durable.write(place, self._sealer.unseal(entry.sha256, folder))
            self._blobs.publish(place, entry.sha256)
        return len(missing), len(live)

    def descendants(self, contribution_id: str) -> Iterator[Descended]:
        """Descendants that were made from a contribution and handed over, by digest; read page by page."""
        return paged(
            lambda after, count: self._read(withdrawal_rows.descendants, contribution_id, after, count),
            lambda made: made.sha256,
            "",
        )

    def descendants_for(self, bundle: bytes, after: str, count: int) -> list[Descended]:
        """A page of them for whoever shows the withdrawal; see `withdrawal_rows.descendants`.

        Raises:
            GenepoolError: as `withdraw`.
        """
        return self._withdrawals.descendants(bundle, after, count)

    def _read(self, question: Callable[..., _T], *values: Any) -> _T:
        with self._ledger.read() as tx:
            return question(tx, *values)

    def descendant(self, sha256: str) -> Descended | None:
        """The descendant with that digest of model.safetensors, if it was handed over."""
        with self._ledger.read() as tx:
            return withdrawal_rows.descendant(tx, sha256)

    def standing(self, contribution_id: str) -> ContributionStanding:
        """The state of a contribution, with the proof of its end.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        contribution = self.contribution(contribution_id)
        with self._ledger.read() as tx:
            row = withdrawal_rows.withdrawal(tx, contribution_id)
        return ContributionStanding(contribution_id, contribution.state, b"" if row is None else row.receipt)

    def release(self, made: Descended) -> None:
        """Record a descendant before it is signed, if every member is still active.

        Raises:
            Refused: CONTRIBUTION_NOT_ACTIVE.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        self._withdrawals.release(made)

    def active_count(self, name: str) -> int:
        """How many active contributions there are to a blueprint.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        return self._read(contribution_rows.active_count, self._log.size, self.blueprint(name).blueprint.sha256)

    def active_digests(self, name: str) -> set[str]:
        """Hex SHA-256 of the files of all active contributions to a blueprint.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        return self._read(contribution_rows.active_digests, self._log.size, self.blueprint(name).blueprint.sha256)

    def active_page(self, name: str, licenses: tuple[str, ...], after: str, count: int) -> list[Contribution]:
        """The next ones of `active` behind an id.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        digest = self.blueprint(name).blueprint.sha256
        rows, path = contribution_rows.active, self._blobs.path
        return self._read(rows, path, self._log.size, digest, licenses, after, count)

    def active(self, name: str, licenses: tuple[str, ...]) -> list[Contribution]:
        """Active contributions to a blueprint, sorted by id; empty `licenses` means all.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        digest = self.blueprint(name).blueprint.sha256
        with self._ledger.read() as tx:
            return contribution_rows.active(tx, self._blobs.path, self._log.size, digest, licenses)

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


def unknown_contribution(contribution_id: str) -> NotFound:
    """The error of a contribution that is not there."""
    return NotFound(
        "CONTRIBUTION_UNKNOWN",
        f"the pool holds no contribution {contribution_id[:64]!r}",
        "list them with genepool-server contributions",
    )
