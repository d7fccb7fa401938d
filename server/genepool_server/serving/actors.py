"""The remote shell of `worker.Worker`. Imported only where Ray runs.

The methods delegate and nothing else; concurrency groups are named at the call, so that the class stays plain.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import ray
import torch

from genepool_protocol.selection.score import Score
from genepool_protocol.selection.task_key import Key
from genepool_server.serving.library import FileRef
from genepool_server.serving.worker import Build, Job, Support, Worker

GROUPS: Final = {"task_key": "score", "score": "score", "slopes": "score", "build": "init", "ping": "ctl"}
"""Which threads of the actor run a method: pings are answered while scores are computed."""


class _WorkerActor:
    def __init__(self, mapped: int) -> None:
        # parallelism is one thread per candidate; and the same single-threaded sums as at home
        torch.set_num_threads(1)
        self._worker = Worker(mapped)

    def ping(self) -> int:
        return os.getpid()

    def task_key(self, support: Support) -> Key:
        return self._worker.task_key(support)

    def score(self, support: Support, jobs: Sequence[Job]) -> list[Score]:
        return self._worker.score(support, jobs, ray.get_runtime_context().is_canceled)

    def slopes(self, support: Support, job: Job, files: Sequence[FileRef]) -> list[float]:
        return self._worker.slopes(support, job, files, ray.get_runtime_context().is_canceled)

    def build(self, order: Build) -> Iterator[int]:
        yield from self._worker.build(order)


def worker_class(score_threads: int, slots: int) -> Any:
    """The actor class whose groups have that many threads: `score`, `init` (one per slot) and `ctl`.

    Dead actors are not restarted by Ray: the dispatcher makes a new one, and then knows that it did.
    """
    return ray.remote(
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={"score": score_threads, "init": slots, "ctl": 1},
    )(_WorkerActor)
