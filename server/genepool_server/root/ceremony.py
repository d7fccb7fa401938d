"""What an operator does to a pool's trust root, with the offline keys at hand and the server down.

The commit point of every change is the trust root's new timestamp: what it names is adopted by the pool afterwards, at
once or when it is opened next (`settle`). So an interruption leaves the old state, or the new one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, get_args

from securesystemslib.signer import Signer
from tuf.api.metadata import Role, Root, Snapshot, Targets, Timestamp

from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.trust.updating import TARGET
from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable
from genepool_server.pool.log.published_head import HeadStore
from genepool_server.pool.store.folder import FolderLock, PoolFolder, following
from genepool_server.root import key_files, settling
from genepool_server.root.repository import Repository
from genepool_server.root.settling import online_key, settle
from genepool_server.tls import identity

PoolKey = Literal["log", "release", "operator"]
RootKey = Literal["root", "targets", "online"]
POOL_KEYS: Final[tuple[PoolKey, ...]] = get_args(PoolKey)
ROOT_KEYS: Final[tuple[RootKey, ...]] = get_args(RootKey)


class Ceremony:
    """The trust root of a pool that nobody else has open.

    Args:
        place: the pool's folder.
        keys: folder with the operators' keys.
        now: the time.
    """

    def __init__(self, place: PoolFolder, keys: Path, now: datetime) -> None:
        self.repository = Repository(place.trust)
        self._place, self._folder, self._now = place, keys, now
        self._keys = key_files.read_all(keys)
        self._online = online_key(place)

    @classmethod
    @contextmanager
    def held(cls, place: PoolFolder, keys: Path | None, now: datetime) -> Iterator["Ceremony"]:
        """A ceremony under the pool's lock.

        Args:
            place: the pool's folder.
            keys: folder with the operators' keys; None: where `create` put them.
            now: the time.

        Raises:
            NotFound: POOL_UNKNOWN; FILE_MISSING.
            Unavailable: FOLDER_IN_USE, the server runs.
            GenepoolError: as `settle` and `online_key`.
        """
        settling.require(place)
        with FolderLock(place.lock):
            settle(place)
            yield cls(place, keys or place.offline, now)

    def publish(self, witnesses: Sequence[str], quorum: int) -> Trusted:
        """Name the witnesses of the settings, and begin another life of the targets.

        Raises:
            VerificationError: KEY_UNKNOWN, the key for targets is missing.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._publish({"witnesses": list(witnesses), "quorum": quorum})

    def replace_pool_key(self, name: PoolKey, *, compromised: bool = False) -> Trusted:
        """Another log, release or operator's key, from the log's size of now on.

        Args:
            name: which.
            compromised: somebody else has the old release key: descendants that it signed are void.

        Raises:
            InvalidInput: OPTION_INVALID.
            VerificationError: KEY_UNKNOWN, the key for targets is missing.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        if compromised and name != "release":
            raise InvalidInput(
                "OPTION_INVALID",
                f"what the {name} key signed before today cannot be told from what a thief signed",
                "a stolen log key means a new pool; replace the operator's key, and look through the log",
            )
        signers, size = self.repository.trusted().signers, HeadStore(self._place.head).read().size
        if name == "log":
            fresh = LogSigner.generate(signers.log.name)
            pem, changed = fresh.pem(), signers.with_log(fresh.public, size)
        else:
            key = SigningKey.generate()
            pem, changed = key.pem(), signers.with_key(name, key.public, size, compromised=compromised)
        durable.write(following(self._place.keys / f"{name}.pem"), pem)
        trusted = self._publish({"signers": changed})
        settle(self._place)
        return trusted

    def replace_root_key(self, name: RootKey) -> list[Path]:
        """Other keys of the trust root in place of those at hand; answers the new files to take away.

        Raises:
            VerificationError: KEY_UNKNOWN, too few keys are at hand.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        if name == "online":
            return self._replace_online()
        old = [holder for holder in self._keys if holder.public_key.keyid in self._role(name).keyids]
        fresh = self._fresh(name, len(old) or 1)
        if name == Targets.type:  # valid under the root of today and under the next one
            self._publish({}, also=[signer for signer, _ in fresh])
        self._change_root(name, old, fresh)
        return [path for _, path in fresh]

    def begin_ca(self) -> None:
        """Make another CA and tell clients of it; the server shows certificates of the old one until `finish_ca`.

        Raises:
            InvalidInput: OPTION_INVALID, that was done before.
            VerificationError: KEY_UNKNOWN, the key for targets is missing.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        known, fresh = self.repository.trusted().ca_pem, following(self._place.ca_crt)
        if fresh.exists() and fresh.read_text() in known:
            raise InvalidInput("OPTION_INVALID", "clients know of another CA already", "finish it with --finish")
        for path in (fresh, fresh.with_suffix(".pem")):
            durable.remove(path)
        self._publish({"ca_pem": known + identity.create_ca(self._place.keys, self._now, fresh.stem)})

    def finish_ca(self) -> None:
        """Let the server show certificates of the other CA, and clients believe no other.

        Raises:
            InvalidInput: OPTION_INVALID, it was not begun.
            VerificationError: KEY_UNKNOWN, the key for targets is missing.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        known, fresh = self.repository.trusted().ca_pem, following(self._place.ca_crt)
        if not fresh.exists() or fresh.read_text() not in known:
            raise InvalidInput("OPTION_INVALID", "clients know of no other CA yet", "first without --finish")
        self._publish({"ca_pem": fresh.read_text()})
        settle(self._place)

    def add_key(self, threshold: int | None) -> Path:
        """One more root key, and perhaps another threshold; answers its file.

        Raises:
            InvalidInput: OPTION_INVALID, the threshold cannot be met.
            VerificationError: KEY_UNKNOWN, too few keys are at hand.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        role = self._role(Root.type)
        new_threshold = role.threshold if threshold is None else threshold
        _check_threshold(new_threshold, len(role.keyids) + 1)
        fresh = self._fresh(Root.type, 1)
        self._change_root("root", [], fresh, new_threshold)
        return fresh[0][1]

    def set_threshold(self, threshold: int) -> None:
        """How many root keys must sign the next root.

        Raises:
            GenepoolError: as `add_key`.
        """
        _check_threshold(threshold, len(self._role(Root.type).keyids))
        self._change_root("root", [], [], threshold)

    def _publish(self, changed: dict[str, Any], also: Sequence[Signer] = ()) -> Trusted:
        trusted = self.repository.trusted().model_copy(update=changed)
        trusted = Trusted.parse(trusted.encode(), TARGET)  # nothing is signed that clients would not take
        self.repository.publish(trusted, self._keys, self._online, self._now, also)
        return trusted

    def _replace_online(self) -> list[Path]:
        path = following(self._place.online_pem)
        durable.remove(path)
        fresh = key_files.create(path)
        self.repository.refresh([self._online, fresh], self._now, force=True)

        def edit(root: Root) -> None:
            for role in (Snapshot.type, Timestamp.type):
                root.revoke_key(self._online.public_key.keyid, role)
                root.add_key(fresh.public_key, role)

        self.repository.change_root(edit, self._keys, self._now)
        settle(self._place)
        return []

    def _change_root(
        self, role: RootKey, old: Sequence[Signer], made: Sequence[tuple[Signer, Path]], threshold: int | None = None
    ) -> None:
        def edit(root: Root) -> None:
            for signer, _ in made:
                root.add_key(signer.public_key, role)
            for signer in old:
                root.revoke_key(signer.public_key.keyid, role)
            if threshold is not None:
                root.roles[role].threshold = threshold

        self.repository.change_root(edit, [*self._keys, *(signer for signer, _ in made)], self._now)

    def _fresh(self, name: str, count: int) -> list[tuple[Signer, Path]]:
        numbers = (number for number in range(1, 1000) if not (self._folder / f"{name}-{number}.pem").exists())
        paths = [self._folder / f"{name}-{number}.pem" for number in islice(numbers, count)]
        return [(key_files.create(path), path) for path in paths]

    def _role(self, name: str) -> Role:
        return self.repository.root().signed.roles[name]


def _check_threshold(threshold: int, keys: int) -> None:
    if not 1 <= threshold <= keys:
        raise InvalidInput("OPTION_INVALID", f"{threshold} of {keys} root keys cannot sign", "add keys first")
