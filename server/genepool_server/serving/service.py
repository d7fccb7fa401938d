"""Serving as the front sees it: select, thin slices, domain embeddings and descendants, with bounded concurrency."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

from genepool_protocol.learngene import algebra, descendant
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.progress import Progress
from genepool_protocol.selection import tals
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.support import Pixels, check_support
from genepool_protocol.wire.errors import StorageError
from genepool_server.deadline import within
from genepool_server.records import Contribution, LoadedBlueprint
from genepool_server.serving import descend_request, room, selecting
from genepool_server.serving.bounded_queue import Gate
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.descent import Descent, Order
from genepool_server.serving.dispatcher import Crew, Dispatcher
from genepool_server.serving.embedding_table import EmbeddingTable
from genepool_server.serving.jobs import WorkerSupport
from genepool_server.serving.library import Library
from genepool_server.serving.pool_view import PoolView
from genepool_server.serving.shared_images import Pictures
from genepool_server.serving.slots import SHARED_MEMORY, Slots
from genepool_server.serving.thin_slice import thin_file

__all__ = ["Descent", "Order", "Serving", "ServingConfig"]

_T = TypeVar("_T")

_READERS = 4
"""Listings of domain embeddings, and downloads of thin slices, that run at the same time."""

_READERS_EACH = 1
"""The same for one peer."""

_REST = 2.0
"""How long a peer with more selections or downloads rests after one, in times of that one."""

_BATCH = 64
"""Keys that are read between two looks at the event loop."""


class Serving:
    """What the pool computes for consumers. Made by `start`; its async methods belong to one event loop."""

    def __init__(
        self, config: ServingConfig, view: PoolView, dispatcher: Dispatcher, slots: Slots, pictures: Pictures
    ) -> None:
        self.config = config
        self._view = view
        self._dispatcher = dispatcher
        self._slots = slots
        self._pictures = pictures
        self._folder = config.temp_dir or Path(tempfile.gettempdir())
        self._tables: dict[str, EmbeddingTable] = {}
        self._lock = threading.Lock()
        self._library = Library(config.mapped_files)
        self._selects = Gate(
            "selections", config.max_concurrent_selects, config.queue, each=config.queue_each, rest=_REST
        )
        self._descents = Gate("descendants", config.slots, config.queue, each=config.queue_each)
        self._readers = Gate(
            "downloads of domain embeddings and slices",
            _READERS,
            config.queue,
            each=config.queue_each,
            share=_READERS_EACH,
            rest=_REST,
        )
        # selections wait on their threads; copies, hashes and signatures need one each
        count = config.max_concurrent_selects + config.slots + _READERS
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="genepool-serving")
        self._undo = contextlib.ExitStack()

    @classmethod
    def start(cls, config: ServingConfig, view: PoolView, work: Callable[[ServingConfig], Dispatcher]) -> Self:
        """Serving with workers that answer.

        Args:
            config: how to serve.
            view: the pool.
            work: starts the workers, and blocks until they answer.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, Ray or a worker did not start.
            StorageError: DISK_FULL, there is no room for the slots, or too little shared memory.
            InvalidInput: CONFIG_INVALID, the temporary folder's path is too long.
        """
        with contextlib.ExitStack() as undo:
            parents = [parent for parent in (SHARED_MEMORY, config.temp_dir) if parent is not None and parent.is_dir()]
            blueprints = [loaded.blueprint for loaded in view.blueprints()]
            size = max(map(_largest, blueprints), default=1)
            slots = Slots.create([*parents, Path(tempfile.gettempdir())], config.slots, size)
            undo.callback(slots.close)
            if config.workers and SHARED_MEMORY.is_dir():
                widest = max(blueprints, key=lambda blueprint: blueprint.image, default=None)
                room.check(SHARED_MEMORY, room.needed(config, widest))
            pictures = Pictures.create([*parents, Path(tempfile.gettempdir())])
            undo.callback(pictures.close)
            dispatcher = work(config)
            undo.callback(dispatcher.drain)
            serving = cls(config, view, dispatcher, slots, pictures)
            serving._undo = undo.pop_all()
            return serving

    def close(self) -> None:
        """End the workers and Ray, and delete the slots; a second call does nothing. Blocks for about two seconds."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for table in self._tables.values():
                table.close()
            self._tables = {}
        self._undo.close()

    @property
    def crew(self) -> Crew:
        """The worker processes."""
        return self._dispatcher.crew

    @property
    def gates(self) -> dict[str, Gate]:
        """What stands before the work, by a short name for each kind of it."""
        return {"selections": self._selects, "descendants": self._descents, "downloads": self._readers}

    async def ping(self) -> bool:
        """Whether a worker answers; true or an error.

        Raises:
            Unavailable: SERVING_UNAVAILABLE.
        """
        await self._dispatcher.submit("ping")
        return True

    async def blocking(self, function: Callable[..., _T], *args: Any) -> _T:
        """The function's result, computed on a thread of serving."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def select(
        self, name: str, pixels: Pixels, labels: Sequence[int], licenses: Sequence[str], progress: Progress
    ) -> tals.TalsSelection:
        """TALS on the workers. Cancelling it cancels the work; the pixels are overwritten when it ends.

        Args:
            name: of the blueprint.
            pixels: uint8, shape (N, image, image, 3).
            labels: one per image, or empty.
            licenses: which contributions may take part; empty: all.
            progress: called with (done, total, stage) on this event loop.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
            InvalidInput: SUPPORT_MALFORMED, SUPPORT_TOO_LARGE, SUPPORT_TOO_SMALL or ONE_CLASS_ONLY.
            Refused: POOL_EMPTY; CONTRIBUTION_NOT_ACTIVE, one that was scored was withdrawn meanwhile.
            Unavailable: BUSY, TOO_SLOW or SERVING_UNAVAILABLE.
        """
        async with self._selects.turn(), self._in_time():
            loaded = await self.blocking(self._view.blueprint, name)
            checked = check_support(loaded.blueprint, pixels, labels)
            entries = await self._entries(loaded, licenses)
            by_id = {member.contribution_id: member for member, _ in entries}
            with self._pictures.lent(pixels) as shared:
                async with self._steady(by_id.values()):
                    selection = await selecting.select(
                        self._dispatcher,
                        self._threads,
                        WorkerSupport(descend_request.family(loaded), shared, checked),
                        [
                            Member(member.contribution_id, embedding, member.site, member.log_index)
                            for member, embedding in entries
                        ],
                        {name: descend_request.file_of(member) for name, member in by_id.items()},
                        labels=checked,
                        progress=progress,
                    )
            looked_at = [by_id[candidate.contribution_id] for candidate in selection.candidates]
            await self.blocking(descend_request.still_usable, self._view, looked_at)
            return selection

    async def embeddings(self, name: str, licenses: Sequence[str]) -> AsyncGenerator[tuple[Contribution, Embedding]]:
        """Every active contribution with its domain embedding, sorted by id.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
            Unavailable: BUSY.
        """
        async with self._readers.turn():
            loaded = await self.blocking(self._view.blueprint, name)
            table, after, active_page = self._table(loaded), "", self._view.contributions.active_page
            if not licenses:
                await self.blocking(lambda: table.keep(self._view.contributions.active_digests(loaded.blueprint)))
            while batch := await self.blocking(active_page, loaded.blueprint, tuple(licenses), after, _BATCH):
                async with self._steady(batch):
                    embeddings = await self.blocking(_embeddings, table, batch)
                for entry, embedding in zip(batch, embeddings, strict=True):
                    yield entry, embedding
                after = batch[-1].contribution_id

    async def thin(self, name: str, ids: Sequence[str]) -> AsyncGenerator[tuple[str, bytes]]:
        """The thin slice of each contribution as a safetensors file, in the order asked for.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN or CONTRIBUTION_UNKNOWN.
            Refused: CONTRIBUTION_NOT_ACTIVE.
            InvalidInput: WEIGHTS_MALFORMED, one is of another blueprint.
            Unavailable: BUSY.
        """
        async with self._readers.turn():
            loaded = await self.blocking(self._view.blueprint, name)
            family = descend_request.family(loaded)
            for contribution_id in ids:
                contribution = await self.blocking(descend_request.usable, self._view, loaded, contribution_id)
                async with self._steady([contribution]):
                    raw = await self.blocking(thin_file, self._library, family, descend_request.file_of(contribution))
                await self.blocking(
                    descend_request.still_usable, self._view, [contribution]
                )  # else it may be half overwritten
                yield contribution_id, raw

    @contextlib.asynccontextmanager
    async def _steady(self, members: Iterable[Contribution]) -> AsyncGenerator[None]:
        """A block that reads contributions: when a file cannot be read because it was erased, that is what is said.

        Raises:
            Refused: CONTRIBUTION_NOT_ACTIVE.
        """
        try:
            yield
        except StorageError:
            await self.blocking(descend_request.still_usable, self._view, members)
            raise

    async def order(self, name: str, weights: Sequence[tuple[str, int]], budget: Budget) -> Order:
        """A checked order; see `descend_request.prepare` for what it raises."""
        return await self.blocking(descend_request.prepare, self._view, name, weights, budget)

    async def descend(self, name: str, weights: Sequence[tuple[str, int]], budget: Budget) -> Descent:
        """The descendant, being built; end it with `release` (or as a context) whatever happens.

        Its order is checked when its turn has come: who waits, or is refused, costs nothing.

        Raises:
            Unavailable: BUSY.
            GenepoolError: what `descend_request.prepare` raises.
        """
        place = await self._descents.enter()
        try:
            order = await self.order(name, weights, budget)
            slot = self._slots.lease()
        except BaseException:
            place.leave()
            raise

        def give_back() -> None:
            self._slots.give_back(slot)
            place.leave()

        return Descent(order, self._dispatcher, self._threads, slot, give_back)

    def _in_time(self) -> AbstractAsyncContextManager[None]:
        """A block that is one selection's work; TOO_SLOW when it takes longer."""
        fix = "send fewer images, or select at home"
        return within(self.config.select_seconds, "the work of the selection did not end", fix, retry_seconds=30)

    async def _entries(self, loaded: LoadedBlueprint, licenses: Sequence[str]) -> list[tuple[Contribution, Embedding]]:
        members = await self.blocking(self._view.contributions.active, loaded.blueprint, tuple(licenses))
        async with self._steady(members):
            table = self._table(loaded)
            if not licenses:  # these are all that there are
                await self.blocking(table.keep, {entry.sha256 for entry in members})
            embeddings = await self.blocking(_embeddings, table, members)
        return list(zip(members, embeddings, strict=True))

    def _table(self, loaded: LoadedBlueprint) -> EmbeddingTable:
        with self._lock:
            if loaded.blueprint.sha256 not in self._tables:
                self._tables[loaded.blueprint.sha256] = EmbeddingTable(loaded.blueprint, self._folder)
            return self._tables[loaded.blueprint.sha256]


def _largest(blueprint: Blueprint) -> int:
    size = Size(blueprint.depths[1], blueprint.heads)
    return 4 * algebra.elements(descendant.layout(blueprint, size))


def _embeddings(table: EmbeddingTable, entries: Sequence[Contribution]) -> list[Embedding]:
    """The domain embedding of each, with the noise that its manifest states."""
    means = table.embeddings([descend_request.file_of(entry) for entry in entries])
    return [
        Embedding(embedding.mean, descend_request.noise_of(entry.manifest))
        for entry, embedding in zip(entries, means, strict=True)
    ]
