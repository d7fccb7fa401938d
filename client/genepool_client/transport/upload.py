"""Resumable upload: statement first, then the bytes from wherever the pool stands, then an idempotent commit.

A stream that breaks is resumed from what the pool holds durably. gRPC itself waits for a pool that is away
(`wait_for_ready`, with its own backoff); what is here only counts the attempts that moved nothing.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from genepool_client.transport.causes import PASSING
from genepool_client.transport.channel import Connection, pause_after
from genepool_client.transport.tally import TALLY
from genepool_protocol.progress import Progress
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS

_FRUITLESS: Final = 3
"""Attempts in a row that may move nothing before the upload gives up."""
_RESUMABLE: Final = PASSING | frozenset(
    {"TOO_SLOW", "BUSY", "OFFSET", "UPLOAD_SUPERSEDED", "UPLOAD_INCOMPLETE", "DISK_FAILED"}
)
_WAIT: Final = 60.0  # seconds that a pool may be away between two attempts


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the pool answered to a commit; the receipt is not verified yet."""

    contribution_id: str
    receipt: bytes
    state: str


def state_name(number: int) -> str:
    """`ACTIVE` for CONTRIBUTION_STATE_ACTIVE, and so on; `UNSPECIFIED` for one that this version does not know."""
    try:
        return pb.ContributionState.Name(pb.ContributionState.ValueType(number)).removeprefix("CONTRIBUTION_STATE_")
    except ValueError:
        return "UNSPECIFIED"


def submit(connection: Connection, bundle: bytes, manifest: bytes, weights: bytes, progress: Progress) -> Accepted:
    """Hand a signed learngene to the pool; repeating it after any interruption goes on where it stopped.

    Args:
        connection: to the pool.
        bundle: model.sig.
        manifest: manifest.json.
        weights: the bytes of learngene.safetensors, at most `LIMITS.learngene_bytes`.
        progress: called with (bytes that the pool has, bytes, note).

    Raises:
        GenepoolError: what the pool refused, or POOL_UNREACHABLE after several attempts that moved nothing.
    """
    request = pb.BeginRequest(bundle=bundle, manifest=manifest)
    begun = connection.call(connection.contribute.Begin, request)
    total = len(weights)
    if not begun.already_logged:
        chunk = min(begun.max_chunk_bytes or LIMITS.chunk_bytes, LIMITS.chunk_bytes)
        _Upload(connection, begun.upload_id, weights, chunk).run(begun.committed_size, progress)
    progress(total, total, "committing")
    committed = connection.call(connection.contribute.Commit, pb.CommitRequest(upload_id=begun.upload_id), wait=True)
    return Accepted(committed.contribution_id, committed.receipt, state_name(committed.state))


@dataclass(frozen=True, slots=True)
class _Upload:
    connection: Connection
    upload_id: str
    weights: bytes
    chunk: int

    def run(self, committed: int, progress: Progress) -> None:
        """Send what is missing until the pool has all of it and knows that it is all."""
        fruitless, finished = 0, False
        while not finished:
            progress(committed, len(self.weights), "sending")
            try:
                self._write(committed, progress)
            except GenepoolError as exc:
                if exc.reason not in _RESUMABLE:
                    raise
                before, (committed, finished) = committed, self._status()
                fruitless = 0 if committed > before else fruitless + 1
                if fruitless >= _FRUITLESS:
                    raise
                time.sleep(min(pause_after(exc) or 0.0, _WAIT))
            else:
                finished = True

    def _status(self) -> tuple[int, bool]:
        request = pb.QueryWriteStatusRequest(upload_id=self.upload_id)
        response = self.connection.call(self.connection.contribute.QueryWriteStatus, request, timeout=_WAIT, wait=True)
        return response.committed_size, response.finished

    def _write(self, offset: int, progress: Progress) -> None:
        call = self.connection.contribute.Write
        with TALLY.counting(pb.WriteRequest), self.connection.translated():
            call(self._messages(offset, progress), timeout=self.connection.stream_timeout, wait_for_ready=True)

    def _messages(self, offset: int, progress: Progress) -> Iterator[pb.WriteRequest]:
        total, first = len(self.weights), self.upload_id
        while True:
            end = min(offset + self.chunk, total)
            last = end == total
            yield pb.WriteRequest(upload_id=first, offset=offset, data=self.weights[offset:end], finish_write=last)
            progress(end, total, "sending")
            if last:
                return
            first, offset = "", end
