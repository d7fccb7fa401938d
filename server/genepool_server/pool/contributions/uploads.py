"""Uploads that are not contributions yet: resumable, leased, and as durable as they say.

Three files in one folder, of which the name tells how far an upload is; nothing else has to survive a crash:

    <upload id>.json    bundle and manifest, as they came: the upload was begun
    <upload id>.part    what has arrived
    <upload id>.done    all of it, synced: the upload is finished
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused, StorageError, Unavailable
from genepool_protocol.wire.limits import LIMITS
from genepool_server import durable
from genepool_server.pool.contributions.quotas import Quotas
from genepool_server.pool.contributions.upload_statement import Ticket

_log: Final = logging.getLogger(__name__)

_RESERVE: Final = 64 << 20
"""Bytes of the disk that uploads leave free, so that the ledger can still be written."""


_LATER: Final = "300"
"""Seconds after which it is worth asking for room again."""


@dataclass(slots=True)
class _Upload:
    ticket: Ticket
    path: Path  # .part, .done, or where it was published to
    written: int = 0  # bytes that arrived
    durable: int = 0  # bytes of them that are synced
    finished: bool = False
    lease: int = 0
    gone: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class Spool:
    """The uploads in a folder, found again when it is opened. Thread-safe.

    Args:
        folder: where they lie.
        quotas: what one site may take.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """

    def __init__(self, folder: Path, quotas: Quotas = Quotas()) -> None:  # noqa: B008 - frozen
        self._folder = folder
        self._quotas = quotas
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}
        with durable.translated(folder):
            names = sorted(folder.iterdir())
        for path in names:
            if path.suffix == ".json" and not path.name.startswith("."):
                try:
                    ticket = Ticket.read(path)
                except InvalidInput as exc:
                    _log.warning("%s, and is dropped: its site begins again", exc.message)
                else:
                    self._uploads[ticket.upload_id] = self._found(ticket)
        for path in names:
            if path.stem not in self._uploads or path.name.startswith("."):
                durable.remove(path)  # of a begin or a discard that was cut short

    def tickets(self) -> list[Ticket]:
        """What was begun and neither committed nor discarded."""
        with self._lock:
            return [upload.ticket for upload in self._uploads.values()]

    def begin(self, ticket: Ticket) -> int:
        """Keep a place for an upload; answers how many bytes of an earlier attempt are durable.

        Raises:
            Unavailable: TOO_MANY_UPLOADS, QUOTA_EXCEEDED or SPOOL_FULL.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._lock:
            if ticket.upload_id not in self._uploads:
                self._require_room(ticket)
                durable.write(self._file(ticket.upload_id, "json"), ticket.encode())
                self._uploads[ticket.upload_id] = _Upload(ticket, self._file(ticket.upload_id, "part"))
        return self.status(ticket.upload_id)[0]

    def ticket(self, upload_id: str) -> Ticket:
        """What an upload was begun with.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
        """
        with self._turn(upload_id) as upload:
            return upload.ticket

    def status(self, upload_id: str) -> tuple[int, bool]:
        """Durable bytes, after making durable what has arrived; and whether the upload is finished.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._turn(upload_id) as upload:
            _sync(upload)
            return upload.durable, upload.finished

    def lease(self, upload_id: str) -> int:
        """The right to write to an upload; it ends every earlier one.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._turn(upload_id) as upload:
            _sync(upload)
            upload.lease += 1
            return upload.lease

    def append(self, upload_id: str, offset: int, data: bytes, lease: int) -> int:
        """Check 13: take a chunk; answers how many bytes are durable, which grows every LIMITS.fsync_bytes.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            Refused: OFFSET (with metadata committed_size), UPLOAD_SUPERSEDED.
            InvalidInput: CHUNK_TOO_LARGE, the chunk is, or it ends after the size in the manifest.
            StorageError: DISK_FULL or DISK_FAILED; nothing of the chunk was kept.
        """
        with self._turn(upload_id, lease) as upload:
            _check_chunk(upload, offset, data)
            if data:
                durable.append(upload.path, offset, data)
                upload.written += len(data)
            if upload.written - upload.durable >= LIMITS.fsync_bytes:
                _sync(upload)
            return upload.durable

    def finish(self, upload_id: str, lease: int) -> int:
        """Make everything durable and mark the upload as finished; answers its size.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            Refused: UPLOAD_SUPERSEDED, UPLOAD_INCOMPLETE (with metadata committed_size).
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self._turn(upload_id, lease) as upload:
            whole = upload.written == upload.ticket.size  # then its name becomes durable when it is published
            _sync(upload, durable.flush if whole else durable.sync)
            if upload.durable != upload.ticket.size:
                raise _incomplete(upload)
            if not upload.finished:
                whole_file = self._file(upload_id, "done")
                durable.publish(upload.path, whole_file)
                upload.path, upload.finished = whole_file, True
            return upload.durable

    @contextmanager
    def complete(self, upload_id: str) -> Iterator[Path]:
        """Where the bytes of a finished upload are; nobody else can use the upload inside the block.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
            Refused: UPLOAD_INCOMPLETE.
        """
        with self._turn(upload_id) as upload:
            if not upload.finished:
                raise _incomplete(upload)
            yield upload.path

    def moved(self, upload_id: str, path: Path) -> None:
        """The bytes of an upload, all of them, are at another place now.

        Raises:
            NotFound: UPLOAD_UNKNOWN.
        """
        with self._turn(upload_id) as upload:
            size = upload.ticket.size
            upload.path, upload.finished, upload.written, upload.durable = path, True, size, size

    def discard(self, upload_id: str) -> None:
        """Forget an upload and its bytes; one that is not there is fine.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; discard it again.
        """
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None:
            return
        with upload.lock:
            for kind in ("json", "part", "done"):  # without the first one the others are known to be left over
                durable.remove(self._file(upload_id, kind))
            upload.gone = True
            with self._lock:
                self._uploads.pop(upload_id, None)

    def _file(self, upload_id: str, kind: str) -> Path:
        return self._folder / f"{upload_id}.{kind}"

    def _found(self, ticket: Ticket) -> _Upload:
        part, whole = self._file(ticket.upload_id, "part"), self._file(ticket.upload_id, "done")
        upload = _Upload(ticket, part)
        if whole.is_file():
            upload.path, upload.finished = whole, True
        if upload.path.is_file():
            upload.written = min(upload.path.stat().st_size, ticket.size)
            _sync(upload)
        return upload

    @contextmanager
    def _turn(self, upload_id: str, lease: int | None = None) -> Iterator[_Upload]:
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None:
            raise unknown_upload(upload_id)
        with upload.lock:
            if upload.gone:
                raise unknown_upload(upload_id)
            if lease is not None and lease != upload.lease:
                raise Refused(
                    "UPLOAD_SUPERSEDED",
                    f"a newer stream writes to the upload {upload_id[:16]}",
                    "ask for its status, resume",
                )
            yield upload

    def _require_room(self, ticket: Ticket) -> None:
        others = [upload for upload in self._uploads.values() if upload.ticket.site == ticket.site]
        if len(others) >= self._quotas.open_uploads:
            raise Unavailable(
                "TOO_MANY_UPLOADS",
                f"the site {ticket.site} has {len(others)} unfinished uploads, which is the most that is allowed",
                "commit one of them, or wait until their nonces have expired",
                retry_seconds=_LATER,
            )
        if sum(upload.ticket.size for upload in others) + ticket.size > self._quotas.spool_bytes:
            raise Unavailable(
                "QUOTA_EXCEEDED",
                f"the unfinished uploads of {ticket.site} would have more than {self._quotas.spool_bytes} bytes",
                "commit one of them, or wait until their nonces have expired",
                retry_seconds=_LATER,
            )
        promised = sum(upload.ticket.size - upload.written for upload in self._uploads.values())
        with durable.translated(self._folder):
            free = shutil.disk_usage(self._folder).free
        if free < promised + ticket.size + _RESERVE:
            raise Unavailable(
                "SPOOL_FULL", "the pool has no room for this upload now", "try again later", retry_seconds=_LATER
            )


def _sync(upload: _Upload, how: Callable[[Path], None] = durable.sync) -> None:
    if upload.durable != upload.written:
        try:
            how(upload.path)
        except StorageError:
            # a second sync may succeed without having written what the first one lost: it must be sent again
            upload.written = upload.durable
            raise
        upload.durable = upload.written


def _check_chunk(upload: _Upload, offset: int, data: bytes) -> None:
    if len(data) > LIMITS.chunk_bytes:
        raise InvalidInput(
            "CHUNK_TOO_LARGE",
            f"a chunk has {len(data)} bytes, at most {LIMITS.chunk_bytes} are allowed",
            "send less at a time",
        )
    if offset != upload.written:
        _sync(upload)
        raise Refused(
            "OFFSET",
            f"a chunk starts at byte {offset}, the upload continues at byte {upload.durable}",
            "resume there",
            committed_size=str(upload.durable),
        )
    if offset + len(data) > upload.ticket.size:
        raise InvalidInput(
            "CHUNK_TOO_LARGE",
            f"a chunk ends after the {upload.ticket.size} bytes of the manifest",
            "send the signed file",
        )


def _incomplete(upload: _Upload) -> Refused:
    return Refused(
        "UPLOAD_INCOMPLETE",
        f"{upload.durable} of {upload.ticket.size} bytes have arrived, or the upload was not finished",
        "resume there",
        committed_size=str(upload.durable),
    )


def unknown_upload(upload_id: str) -> NotFound:
    """The error of an upload that is not there."""
    return NotFound("UPLOAD_UNKNOWN", f"the pool has no upload {upload_id[:64]!r}", "begin it")
