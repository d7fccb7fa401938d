"""The files of a trust root in a folder, as TUF names them with consistent snapshots; what is served is what lies here.

Files that name a version are never changed. `timestamp.json` is the only other one and is written last, so clients see
the old state or the new one, whenever this process ends.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Signer
from tuf.api import exceptions
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from genepool_protocol.trust import digest
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.trust.updating import FILE_NAME, TARGET, chained, opened
from genepool_protocol.wire.errors import NotFound, StorageError, VerificationError
from genepool_protocol.wire.limits import LIMITS
from genepool_server import durable

ROOT_LIFE: Final = timedelta(days=730)
TARGETS_LIFE: Final = timedelta(days=365)
SNAPSHOT_LIFE: Final = timedelta(days=1)
TIMESTAMP_LIFE: Final = timedelta(seconds=LIMITS.timestamp_seconds)

Edit = Callable[[Root], None]


class Repository:
    """A trust root.

    Args:
        folder: where its files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """A file by its name.

        Raises:
            NotFound: FILE_MISSING, there is none, or no file of a trust root has such a name.
        """
        if FILE_NAME.fullmatch(name):
            try:
                return (self._folder / name).read_bytes()
            except OSError:
                pass  # said below: a client tries for the next root every time
        raise NotFound("FILE_MISSING", f"the trust root has no file {name[:80]!r}", "see GetFile in pool.proto")

    def first(self) -> str:
        """Version 1 of the root: what clients pin.

        Raises:
            NotFound: FILE_MISSING.
        """
        return self.read("1.root.json").decode()

    def root(self) -> Metadata[Root]:
        """The root of today.

        Raises:
            StorageError: LEDGER_INCONSISTENT, the chain of roots does not hold.
            NotFound: FILE_MISSING.
        """
        try:
            return chained(self._roots())
        except exceptions.RepositoryError as exc:
            raise _damaged(exc) from exc

    def trusted(self) -> Trusted:
        """What clients are told, verified as they do.

        Raises:
            StorageError: LEDGER_INCONSISTENT, a signature or digest does not hold.
            NotFound: FILE_MISSING.
        """
        try:
            targets = self.read(f"{self._listed().version}.targets.json")
            info = Metadata[Targets].from_bytes(targets).signed.targets[TARGET]
            return opened(self._roots(), targets, self.read(f"{info.hashes['sha256']}.{TARGET}"))
        except (exceptions.RepositoryError, KeyError) as exc:
            raise _damaged(exc) from exc

    def timestamp(self) -> Timestamp:
        """The timestamp; no signature is checked."""
        return Metadata[Timestamp].from_bytes(self.read("timestamp.json")).signed

    def snapshot(self) -> Snapshot:
        """The snapshot that the timestamp names; no signature is checked."""
        version = self.timestamp().snapshot_meta.version
        return Metadata[Snapshot].from_bytes(self.read(f"{version}.snapshot.json")).signed

    def targets(self) -> Targets:
        """The targets that the snapshot names; no signature is checked."""
        return Metadata[Targets].from_bytes(self.read(f"{self._listed().version}.targets.json")).signed

    def _roots(self) -> list[bytes]:
        roots = [self.read("1.root.json")]
        while (self._folder / f"{len(roots) + 1}.root.json").is_file():
            roots.append(self.read(f"{len(roots) + 1}.root.json"))
        return roots

    def _listed(self) -> MetaFile:
        return self.snapshot().meta["targets.json"]

    # -- writing: one process at a time --------------------------------------------------------------------------------

    def create(self, trusted: Trusted, root: Signer, targets: Signer, online: Signer, now: datetime) -> None:
        """The first version of everything.

        Args:
            trusted: what clients shall believe.
            root: one operator's key; more can be added.
            targets: signs `trusted`.
            online: signs how fresh it all is.
            now: the time.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        first = Root(expires=_seconds(now + ROOT_LIFE), consistent_snapshot=True)
        roles = {Root.type: root, Targets.type: targets, Snapshot.type: online, Timestamp.type: online}
        for role, signer in roles.items():
            first.add_key(signer.public_key, role)
        self._write("1.root.json", _signed(first, [root]))
        snapshot, stamp = Snapshot(expires=now), Timestamp(expires=now)
        self._write("1.targets.json", self._listing(Targets(), trusted, [targets], snapshot, now))
        snapshot.version = stamp.version = 0
        self._snapshot(snapshot, stamp, [online], now)

    def publish(
        self, trusted: Trusted, keys: Sequence[Signer], online: Signer, now: datetime, also: Sequence[Signer] = ()
    ) -> None:
        """Tell clients something else.

        Args:
            trusted: what they shall believe.
            keys: of operators; those of the role targets among them sign it.
            online: signs how fresh it is.
            now: the time.
            also: keys that the next root will name for targets: they sign it, too.

        Raises:
            VerificationError: KEY_UNKNOWN, too few of the keys are of the role targets.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        signers = [*_of_role(self.root().signed, Targets.type, keys), *also]
        targets, snapshot, stamp = self.targets(), self.snapshot(), self.timestamp()
        targets.version += 1
        raw = self._listing(targets, trusted, signers, snapshot, now)
        self._write(f"{targets.version}.targets.json", raw)
        self._snapshot(snapshot, stamp, [online], now)

    def refresh(self, online: Sequence[Signer], now: datetime, *, force: bool = False) -> None:
        """Say that it is still fresh, when half of the time is over, or a clock was wrong; `force` says so at once.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        stamp, snapshot = self.timestamp(), self.snapshot()
        if force or snapshot.expires - now < SNAPSHOT_LIFE / 2:
            self._snapshot(snapshot, stamp, online, now)
        elif not TIMESTAMP_LIFE / 2 <= stamp.expires - now <= TIMESTAMP_LIFE:
            self._timestamp(stamp, online, now)

    def change_root(self, edit: Edit, keys: Sequence[Signer], now: datetime) -> None:
        """The next root, if these keys are enough for the one of today and for the next.

        Args:
            edit: changes keys and thresholds.
            keys: of operators.
            now: the time.

        Raises:
            VerificationError: KEY_UNKNOWN, too few of the keys are of the role root.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        before, after = self.root().signed, self.root().signed
        edit(after)
        after.version, after.expires = before.version + 1, _seconds(now + ROOT_LIFE)
        signers = [signer for judge in (before, after) for signer in _of_role(judge, Root.type, keys)]
        single = {signer.public_key.keyid: signer for signer in signers}
        self._write(f"{after.version}.root.json", _signed(after, list(single.values())))

    def _listing(
        self, targets: Targets, trusted: Trusted, signers: Sequence[Signer], snapshot: Snapshot, now: datetime
    ) -> bytes:
        """Signed targets that name the target, and what the snapshot says of them."""
        raw = trusted.encode()
        self._write(f"{digest.sha256_hex(raw)}.{TARGET}", raw)
        targets.targets = {TARGET: TargetFile.from_data(TARGET, raw, ["sha256"])}
        targets.expires = _seconds(now + TARGETS_LIFE)
        signed = _signed(targets, signers)
        snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, signed, ["sha256"])
        return signed

    def _snapshot(self, snapshot: Snapshot, stamp: Timestamp, online: Sequence[Signer], now: datetime) -> None:
        snapshot.version, snapshot.expires = _next(snapshot.version, now), _seconds(now + SNAPSHOT_LIFE)
        raw = _signed(snapshot, online)
        self._write(f"{snapshot.version}.snapshot.json", raw)
        stamp.snapshot_meta = MetaFile.from_data(snapshot.version, raw, ["sha256"])
        self._timestamp(stamp, online, now)

    def _timestamp(self, stamp: Timestamp, online: Sequence[Signer], now: datetime) -> None:
        stamp.version, stamp.expires = _next(stamp.version, now), _seconds(now + TIMESTAMP_LIFE)
        self._write("timestamp.json", _signed(stamp, online))

    def _write(self, name: str, raw: bytes) -> None:
        durable.write(self._folder / name, raw, 0o644)


def _signed(value: Root | Timestamp | Snapshot | Targets, signers: Sequence[Signer]) -> bytes:
    metadata: Metadata[Any] = Metadata(value)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _of_role(root: Root, role: str, keys: Sequence[Signer]) -> list[Signer]:
    role_keys = root.roles[role]
    signers = {signer.public_key.keyid: signer for signer in keys if signer.public_key.keyid in role_keys.keyids}
    if len(signers) < role_keys.threshold:
        raise VerificationError(
            "KEY_UNKNOWN",
            f"{len(signers)} of these keys may sign {role}, {role_keys.threshold} are needed",
            "bring the media with the operators' keys, and name the folder that holds them with --keys",
        )
    return list(signers.values())


def _next(version: int, now: datetime) -> int:
    """Minutes since 1970, or one more: after a restore from a backup, versions go on above all that clients saw."""
    return max(version + 1, int(now.timestamp()) // 60)


def _seconds(time: datetime) -> datetime:
    return time.replace(microsecond=0)


def _damaged(exc: Exception) -> StorageError:
    why = f"the trust root does not hold: {exc}"
    return StorageError("LEDGER_INCONSISTENT", why, "restore the folder trust from the backup")
