"""What is done with a pool's trust root apart from ceremonies: it is made, adopted by the pool, and looked through."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets, Timestamp

from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import GenepoolError, NotFound, StorageError
from genepool_server import durable
from genepool_server.pool.store.folder import PoolFolder, following
from genepool_server.pool.upkeep.fsck import Problem
from genepool_server.root import key_files
from genepool_server.root.repository import Repository


def create(place: PoolFolder, trusted: Trusted, now: datetime) -> str:
    """The trust root of a new pool; its two operator's keys lie in `place.offline`. Answers root v1.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    for folder in (place.trust, place.offline):
        durable.mkdir(folder)
    root, targets = (key_files.create(place.offline / f"{role}-1.pem") for role in (Root.type, Targets.type))
    repository = Repository(place.trust)
    repository.create(trusted, root, targets, key_files.create(place.online_pem), now)
    return repository.first()


def require(place: PoolFolder) -> None:
    """Check that a trust root lies here, and so a pool.

    Raises:
        NotFound: POOL_UNKNOWN.
    """
    if not (place.trust / "1.root.json").is_file():
        why = f"there is no pool with a trust root in {place.root}"
        raise NotFound("POOL_UNKNOWN", why, "make one with genepool-server init DIR")


def settle(place: PoolFolder) -> Trusted:
    """Adopt what the trust root names, before the pool is opened; answers it.

    Raises:
        StorageError: LEDGER_INCONSISTENT, the trust root does not hold; DISK_FULL or DISK_FAILED.
        NotFound: FILE_MISSING.
    """
    trusted = Repository(place.trust).trusted()
    if place.signers() != trusted.signers:
        durable.write(place.signers_file, trusted.signers.encode(), 0o644)
    path, _ = _online(place)
    if path != place.online_pem:
        durable.publish(path, place.online_pem)
    _adopt_ca(place, trusted)
    return trusted


def _adopt_ca(place: PoolFolder, trusted: Trusted) -> None:
    fresh = following(place.ca_crt)
    if fresh.exists() and fresh.read_text() == trusted.ca_pem:  # the certificate goes last: until then it is done again
        for path in (place.ca_crt.with_suffix(".pem"), place.ca_crt):
            durable.publish(following(path), path)


def problems(place: PoolFolder) -> Iterator[Problem]:
    """What is wrong with the trust root, for fsck; it reads only."""
    try:
        trusted = Repository(place.trust).trusted()
        _online(place)
        if trusted.signers != place.signers():
            message = "it names other keys than signers.json; the pool adopts them when it is opened next"
            yield Problem(place.trust.name, "LEDGER_INCONSISTENT", message)
    except GenepoolError as exc:
        yield Problem(place.trust.name, exc.reason, exc.message)


def online_key(place: PoolFolder) -> Signer:
    """The key that says how fresh the trust root is: the one that its root names.

    Raises:
        StorageError: LEDGER_INCONSISTENT, it is another one.
        InvalidInput: KEY_MALFORMED.
        NotFound: FILE_MISSING.
        VerificationError: KEY_EXPOSED.
    """
    return _online(place)[1]


def _online(place: PoolFolder) -> tuple[Path, Signer]:
    keyids = Repository(place.trust).root().signed.roles[Timestamp.type].keyids
    for path in (place.online_pem, following(place.online_pem)):
        if path == place.online_pem or path.exists():
            signer = key_files.read(path)
            if signer.public_key.keyid in keyids:
                return path, signer
    why = f"{place.online_pem} is not the key that the trust root names"
    raise StorageError("LEDGER_INCONSISTENT", why, "put the pool's own file back")
