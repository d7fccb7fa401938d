"""TALS on the workers: `tals.select` runs on a thread of the front, its scores come from the dispatcher in shards."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.progress import Progress
from genepool_protocol.selection import tals
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.support import Labels
from genepool_server.serving.dispatcher import Dispatcher, Verb, split
from genepool_server.serving.jobs import Job, WorkerSupport
from genepool_server.serving.library import StoredFile


class Evaluation:
    """The `Evaluator` of one selection: called on another thread, it computes on the workers that the loop talks to.

    Args:
        loop: the event loop of the front.
        dispatcher: who scores.
        support: the images and labels.
        files: the learngene file of each contribution.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        support: WorkerSupport,
        files: Mapping[str, StoredFile],
    ) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._support = support
        self._files = files
        self._lock = threading.Lock()
        self._stopped = False
        self._open: list[concurrent.futures.Future[Any]] = []
        self._at_work: set[asyncio.Future[None]] = set()

    def scores(self, mixtures: Sequence[Mixture]) -> Iterator[Score]:
        """The scores of the mixtures, in order.

        Raises:
            GenepoolError: whatever the dispatcher raises.
            concurrent.futures.CancelledError: the selection was stopped.
        """
        jobs = [self._job(mixture) for mixture in mixtures]
        return self._gather([("score", shard) for shard in split(jobs, self._dispatcher.lanes)])

    def slopes(self, mixture: Mixture, ids: Sequence[str]) -> list[float]:
        """The slopes at the mixture along each learngene, in order; raises what `scores` does.

        One shard a lane: each computes the gradient again, which costs less than to pass it on.
        """
        files, lanes = [self._files[name] for name in ids], self._dispatcher.lanes
        size = -(-len(files) // lanes)
        shards = [files[start : start + size] for start in range(0, len(files), size)]
        return list(self._gather([("slopes", self._job(mixture), shard) for shard in shards]))

    def _job(self, mixture: Mixture) -> Job:
        return tuple((self._files[name], milli) for name, milli in mixture)

    def _gather(self, calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        with self._lock:
            if self._stopped:
                raise concurrent.futures.CancelledError
            self._open = [self._submit(verb, *args) for verb, *args in calls]
        try:
            for shard in self._open:
                yield from shard.result()
        finally:
            self._cancel()

    async def stop(self) -> None:
        """Cancel what is at work, and wait until it has ended; the thread that waits for it ends, too."""
        with self._lock:
            self._stopped = True
        self._cancel()
        await asyncio.sleep(0)  # the tasks hear of it
        if self._at_work:
            await asyncio.wait(self._at_work)

    def _submit(self, verb: Verb, *args: Any) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(self._counted(verb, *args), self._loop)

    async def _counted(self, verb: Verb, *args: Any) -> Any:
        ended = self._loop.create_future()
        self._at_work.add(ended)
        try:
            return await self._dispatcher.submit(verb, self._support, *args)
        finally:
            self._at_work.discard(ended)
            ended.set_result(None)

    def _cancel(self) -> None:
        for shard in self._open:
            shard.cancel()


async def select(
    dispatcher: Dispatcher,
    threads: concurrent.futures.Executor,
    support: WorkerSupport,
    members: Sequence[Member],
    files: Mapping[str, StoredFile],
    *,
    labels: Labels | None,
    progress: Progress,
) -> tals.TalsSelection:
    """The selection for a shared support set.

    Args:
        dispatcher: who computes.
        threads: where `tals.select` runs.
        support: the images and labels.
        members: the pool's active contributions with their domain embeddings.
        files: the learngene file of each of them.
        labels: of the support set, or None.
        progress: called on this event loop.

    Raises:
        Refused: POOL_EMPTY.
        Unavailable: BUSY, TOO_SLOW or SERVING_UNAVAILABLE.
        StorageError: BLOB_CORRUPT.
    """
    loop = asyncio.get_running_loop()
    evaluation = Evaluation(loop, dispatcher, support, files)

    def tell(done: int, total: int, stage: str) -> None:
        loop.call_soon_threadsafe(progress, done, total, stage)

    def run(task: Embedding) -> tals.TalsSelection:
        return tals.select(task, members, evaluation, labels=labels, progress=tell)

    try:
        task = await dispatcher.submit("task_embedding", support)
        return await loop.run_in_executor(threads, run, task)
    finally:
        await evaluation.stop()
