"""The remote shell of `worker.Worker`. Imported only where Ray runs.

Arguments and answers pass as packed bytes: the process that holds Ray hands them on and needs neither torch nor our
types, and knows no more of a call than its name. Concurrency groups are named at the call, so that the class stays
plain.
"""

import os
import pickle
from collections.abc import Iterator
from typing import Any, Final

import ray

from genepool_server.serving.dispatcher import CANCELLABLE

GROUPS: Final = {"task_embedding": "score", "score": "score", "slopes": "score", "build": "init", "ping": "ctl"}
"""Which threads of the actor run a method: pings are answered while scores are computed."""


class _WorkerActor:
    def __init__(self, mapped: int) -> None:
        import torch

        from genepool_protocol.machine.launching import overwrite_freed_memory
        from genepool_server.serving.worker import Worker

        # parallelism is one thread per candidate; and the same single-threaded sums as at home
        torch.set_num_threads(1)
        overwrite_freed_memory()  # consumers' images, among others
        self._worker = Worker(mapped)

    def ping(self) -> int:
        return os.getpid()

    def call(self, verb: str, packed: bytes) -> bytes:
        method, args = getattr(self._worker, verb), pickle.loads(packed)  # noqa: S301 - the server's own words
        if verb in CANCELLABLE:
            args = (*args, ray.get_runtime_context().is_canceled)
        return pickle.dumps(method(*args))

    def stream(self, verb: str, packed: bytes) -> Iterator[int]:
        yield from getattr(self._worker, verb)(*pickle.loads(packed))  # noqa: S301 - the server's own words


def worker_class(score_threads: int, slots: int) -> Any:
    """The actor class whose groups have that many threads: `score`, `init` (one per slot) and `ctl`.

    Dead actors are not restarted by Ray: the dispatcher makes a new one, and then knows that it did. Calls run in the
    order in which they arrive: one that was cancelled would leave a gap that all later ones wait behind.
    """
    return ray.remote(
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
        allow_out_of_order_execution=True,
        concurrency_groups={"score": score_threads, "init": slots, "ctl": 1},
    )(_WorkerActor)
