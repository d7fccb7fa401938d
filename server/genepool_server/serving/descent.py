"""One descendant on its way: a worker fills a slot, the front reads behind it, hashes and hands out chunks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Self

from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.size import Size
from genepool_protocol.wire.errors import GenepoolError, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.records import Contribution
from genepool_server.serving.dispatcher import Dispatcher, drained
from genepool_server.serving.jobs import Build
from genepool_server.serving.library import Family, StoredFile
from genepool_server.serving.slots import Slot


@dataclass(frozen=True, slots=True)
class Order:
    """A descendant that may be built: everything about it is checked.

    Attributes:
        family: the blueprint.
        size: depth and heads.
        members: (contribution, weight in thousandths), sorted by contribution id.
    """

    family: Family
    size: Size
    members: tuple[tuple[Contribution, int], ...]

    @property
    def header(self) -> bytes:
        """The safetensors header of model.safetensors."""
        return descendant.model_header(self.family.blueprint, self.size)

    @property
    def total_bytes(self) -> int:
        """Length of model.safetensors."""
        return descendant.total_bytes(self.family.blueprint, self.size)

    def build(self, slot: Slot) -> Build:
        """What the worker is told."""
        members = tuple((StoredFile.at(member.path, member.sha256), milli) for member, milli in self.members)
        return Build(self.family, self.size, members, str(slot.path), slot.size)


class Descent:
    """model.safetensors as a stream of chunks. For one event loop and one reader.

    The worker never waits for the reader, so the slot is given back when both are through: a worker that still writes
    would write into somebody else's descendant.

    Args:
        order: what to build.
        dispatcher: who builds.
        threads: where bytes are copied and hashed.
        slot: leased for this.
        give_back: called once, when nobody touches the slot any more.
    """

    def __init__(
        self, order: Order, dispatcher: Dispatcher, threads: Executor, slot: Slot, give_back: Callable[[], None]
    ) -> None:
        self.order = order
        self._threads = threads
        self._slot = slot
        self._give_back = give_back
        self._ready = 0
        self._failure: GenepoolError | None = None
        self._wake = asyncio.Event()
        self._digest = hashlib.sha256()
        self._whole = False
        self._released = False
        self._pump = asyncio.get_running_loop().create_task(self._fill(dispatcher))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the whole file, computed on the very bytes that were handed out.

        Raises:
            GenepoolError: INTERNAL, the last chunk was not taken yet.
        """
        if not self._whole:
            raise GenepoolError("INTERNAL", "a descendant has no digest before its last chunk")
        return self._digest.hexdigest()

    async def chunks(self, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of the file from `offset` on, in chunks of at most `LIMITS.chunk_bytes`; the header comes first.

        What lies before the offset is built and hashed all the same.

        Raises:
            Refused: OFFSET, it lies behind the end.
            Unavailable: SERVING_UNAVAILABLE, two workers in a row died.
            StorageError: BLOB_CORRUPT.
        """
        total, position = self.order.total_bytes, 0
        if offset > total:
            raise Refused(
                "OFFSET", f"the offset {offset} lies behind the file's {total} bytes", "resume from a smaller one"
            )
        async for chunk in self._all():
            skip = min(len(chunk), max(0, offset - position))
            position += len(chunk)
            if skip < len(chunk):
                yield chunk[skip:]
        self._whole = True

    def release(self) -> None:
        """Nobody reads any more; idempotent. The slot is given back when the worker is through with it, too."""
        if not self._released:
            self._released = True
            if self._pump.done():
                self._give_back()
            else:
                self._pump.add_done_callback(lambda _: self._give_back())

    async def _all(self) -> AsyncIterator[bytes]:
        header = self.order.header
        self._digest.update(header)
        for start in range(0, len(header), LIMITS.chunk_bytes):
            yield header[start : start + LIMITS.chunk_bytes]
        size = self.order.total_bytes - len(header)
        coming = self._ahead(0, size)
        try:
            for start in range(0, size, LIMITS.chunk_bytes):
                chunk = await coming
                # the next chunk is copied and hashed while this one is on its way
                coming = self._ahead(start + len(chunk), size)
                yield chunk
        finally:
            coming.cancel()

    def _ahead(self, start: int, size: int) -> asyncio.Task[bytes]:
        task = asyncio.get_running_loop().create_task(self._next(start, size))
        # a reader that left does not ask how the last read went
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _next(self, start: int, size: int) -> bytes:
        end = min(start + LIMITS.chunk_bytes, size)
        if start >= end:
            return b""
        while self._ready < end:
            if self._failure is not None:
                raise self._failure
            self._wake.clear()
            await self._wake.wait()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, start, end)

    def _read(self, start: int, end: int) -> bytes:
        chunk = self._slot.read(start, end)
        self._digest.update(chunk)
        return chunk

    async def _fill(self, dispatcher: Dispatcher) -> None:
        failure = GenepoolError("INTERNAL", "a build ended before its last byte")
        try:
            async for ready in dispatcher.stream("build", self.order.build(self._slot)):
                self._ready = max(self._ready, ready)  # a build that starts over repeats itself, with the same bytes
                self._wake.set()
        except GenepoolError as exc:
            failure = exc
        except asyncio.CancelledError:
            failure = drained()
            raise
        finally:  # whatever happened, nobody waits for bytes that do not come
            self._failure = failure
            self._wake.set()
