"""The client of a pool's trust root: TUF (python-tuf), from the pinned root v1 to the one target `trusted.json`.

    root v1 (pinned) -> root v2 ... -> timestamp -> snapshot -> targets -> trusted.json

What was verified is kept in a folder, so that nothing older is ever believed again and verification works offline.
Imported only where it is needed: TUF's modules take time to load.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Never

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from genepool_protocol.private_files import close_tree, create_own, open_own, private_folder
from genepool_protocol.trust import digest
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import NotFound, StorageError, VerificationError
from genepool_protocol.wire.limits import LIMITS

TARGET: Final = "trusted.json"
FILE_NAME: Final = re.compile(
    r"timestamp\.json|[1-9][0-9]{0,8}\.(?:root|snapshot|targets)\.json|[0-9a-f]{64}\.trusted\.json"
)
"""Every name that a file of a trust root can have."""

Fetch = Callable[[str], Iterator[bytes]]
"""The bytes of a file of the pool's trust root, in pieces; raises NotFound when there is none."""

_EVIDENCE: Final = 32
"""Files that are kept of pools whose trust root was refused."""

_CONFIG: Final = UpdaterConfig(
    root_max_length=LIMITS.trust_bytes,
    timestamp_max_length=LIMITS.trust_bytes,
    snapshot_max_length=LIMITS.trust_bytes,
    targets_max_length=LIMITS.trust_bytes,
)


class _Fetcher(FetcherInterface):
    """python-tuf's way to get files, by ours; remembers the last one for evidence."""

    def __init__(self, fetch: Fetch) -> None:
        self._get = fetch
        self.name, self.raw = "", bytearray()

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.name, self.raw = url.lstrip("/"), bytearray()
        try:
            for chunk in self._get(self.name):
                if len(self.raw) <= LIMITS.trust_bytes:
                    self.raw += chunk
                yield chunk
        except NotFound as exc:
            raise exceptions.DownloadHTTPError(f"the pool has no {self.name}", 404) from exc


def refresh(anchors: Anchors, folder: Path, fetch: Fetch, now: datetime) -> Trusted:
    """What the pool's trust root says now, verified and kept.

    Args:
        anchors: hold the pinned root v1.
        folder: of this pool alone; made when it is not there.
        fetch: where files come from.
        now: the clock, for timestamps that lie too far ahead; expiry is judged by the computer's own.

    Raises:
        VerificationError: TRUST_INVALID, TRUST_ROLLBACK, TRUST_EXPIRED or CLOCK_WRONG; what was shown is kept in
            `folder/evidence`.
        InvalidInput: the operator signed something else than a `Trusted`.
        StorageError: DISK_FAILED.
        GenepoolError: what `fetch` raises.
    """
    fetcher = _Fetcher(fetch)
    try:
        private_folder(folder)
        with _locked(folder):
            raw = _updated(anchors, folder, fetcher, now)
            close_tree(folder)  # python-tuf leaves it to the umask
    except (exceptions.RepositoryError, exceptions.DownloadError) as exc:
        _refuse(exc, anchors, folder, fetcher)
    except OSError as exc:
        raise StorageError(
            "DISK_FAILED", f"{folder}, which keeps the pool's trust root, cannot be written: {exc.strerror}", "mend it"
        ) from exc
    return Trusted.parse(raw, TARGET)


def cached(anchors: Anchors, folder: Path) -> Trusted | None:
    """What was verified last, from the folder alone: every signature is checked again, expiry is not.

    Returns:
        None when this pool's trust root was never refreshed.

    Raises:
        VerificationError: TRUST_INVALID, a file was changed.
        InvalidInput: as `refresh`.
    """
    if not (folder / TARGET).is_file():
        return None
    try:
        with _locked(folder):
            roots = [anchors.root.encode()]
            while (path := folder / "root_history" / f"{len(roots) + 1}.root.json").is_file():
                roots.append(path.read_bytes())
            return opened(roots, (folder / "targets.json").read_bytes(), (folder / TARGET).read_bytes())
    except (OSError, exceptions.RepositoryError) as exc:
        raise VerificationError(
            "TRUST_INVALID", f"the trust root that is kept in {folder} does not hold: {exc}", "remove that folder"
        ) from exc


def opened(roots: Iterable[bytes], targets: bytes, target: bytes) -> Trusted:
    """The target, held against targets.json, and that against the last of a chain of roots.

    Raises:
        RepositoryError: TUF's own, a signature, version or digest does not hold.
        InvalidInput: as `refresh`.
    """
    root = chained(roots).signed
    signed = Metadata[Targets].from_bytes(targets)
    root.verify_delegate(Targets.type, signed.signed_bytes, signed.signatures)
    if TARGET not in signed.signed.targets:
        raise exceptions.RepositoryError(f"targets.json does not name {TARGET}")
    signed.signed.targets[TARGET].verify_length_and_hashes(target)
    return Trusted.parse(target, TARGET)


def chained(roots: Iterable[bytes]) -> Metadata[Root]:
    """The last of a chain of roots, each signed by itself and by the one before.

    Raises:
        RepositoryError: TUF's own, a signature or version does not hold.
    """
    last: Metadata[Root] | None = None
    for raw in roots:
        root = Metadata[Root].from_bytes(raw)
        for judge in (root, last or root):
            judge.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        if last is not None and root.signed.version != last.signed.version + 1:
            raise exceptions.BadVersionNumberError("the versions of two roots do not follow one another")
        last = root
    if last is None:
        raise exceptions.RepositoryError("there is no root")
    return last


def _updated(anchors: Anchors, folder: Path, fetcher: _Fetcher, now: datetime) -> bytes:
    updater = Updater(str(folder), "/", str(folder), "/", fetcher, _CONFIG, bootstrap=anchors.root.encode())
    updater.refresh()
    _check_clock(folder / "timestamp.json", now)
    info = updater.get_targetinfo(TARGET)
    if info is None or info.length > LIMITS.trust_bytes:
        raise exceptions.RepositoryError(f"its targets do not name {TARGET}, or a huge one")
    if updater.find_cached_target(info) is None:
        new = folder / f".{TARGET}.new"
        updater.download_target(info, str(new))
        new.replace(folder / TARGET)
    return (folder / TARGET).read_bytes()


def _check_clock(path: Path, now: datetime) -> None:
    """An honest timestamp ends at most a life from now: a later end means that one of two clocks is wrong."""
    ends = Metadata[Timestamp].from_file(str(path)).signed.expires
    if ends - now > timedelta(seconds=LIMITS.timestamp_seconds + LIMITS.skew_seconds):
        raise VerificationError(
            "CLOCK_WRONG",
            f"the pool's timestamp ends at {ends:%Y-%m-%d %H:%M} UTC, too far ahead of this computer's clock "
            f"({now:%Y-%m-%d %H:%M} UTC)",
            "set this computer's clock; if it is right, the pool's is wrong: tell its operator",
        )


def _refuse(exc: Exception, anchors: Anchors, folder: Path, fetcher: _Fetcher) -> Never:
    evidence = _keep(folder / "evidence", fetcher)
    who, told = f"the trust root of the pool at {anchors.address}", {"evidence": str(evidence)} if evidence else {}
    if isinstance(exc, exceptions.ExpiredMetadataError):
        raise VerificationError(
            "TRUST_EXPIRED",
            f"{who} has ended ({exc}): it is frozen, or this computer's clock is ahead",
            "check the clock; if it is right, tell the pool's operator, and trust no answer until then",
            **told,
        ) from exc
    if isinstance(exc, exceptions.BadVersionNumberError):
        raise VerificationError(
            "TRUST_ROLLBACK",
            f"{who} is older than what it showed before: {exc}",
            "tell the pool's operator, and trust no answer until then",
            **told,
        ) from exc
    raise VerificationError(
        "TRUST_INVALID",
        f"{who} does not hold: {exc}",
        "check the address; if the pool was made anew, ask its operator for the new pool.json",
        **told,
    ) from exc


def _keep(folder: Path, fetcher: _Fetcher) -> Path | None:
    """The file that was refused, for whoever has to find out why; a bounded number of them."""
    if not fetcher.raw or not FILE_NAME.fullmatch(fetcher.name):
        return None
    path = folder / f"{digest.sha256_hex(bytes(fetcher.raw))[:16]}-{fetcher.name[-80:]}"
    try:
        private_folder(folder)
        if not path.exists() and len(list(folder.iterdir())) < _EVIDENCE:
            create_own(path, bytes(fetcher.raw))
    except OSError:
        return None  # what is refused is refused without evidence, too
    return path if path.exists() else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """python-tuf replaces several files one by one: one process at a time."""
    handle = open_own(folder / ".lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
