"""What it costs that freed memory is overwritten: scoring and building with and without, in one run.

`python -m tests.benchmarks.overwriting`
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from genepool_protocol.learngene.size import Size
from genepool_protocol.machine.launching import overwrite_freed_memory
from genepool_server.serving import descend_request
from genepool_server.serving.jobs import Build, WorkerSupport
from genepool_server.serving.shared_images import Pictures
from genepool_server.serving.slots import SHARED_MEMORY, Slots
from genepool_server.serving.worker import Worker
from tests.support.views import MemoryView

_ROUNDS = 9
_FAMILY = {
    "name": "nano",
    "image": 32,
    "head_dim": 64,
    "heads": 4,
    "mlp_ratio": 4,
    "depth": 3,
    "depths": [1, 12],
    "key": {"depth": 1, "heads": 1},
    "score": {"depth": 9, "heads": 4},
}


def best(function: Callable[[], object]) -> float:
    """Processor seconds of the fastest of several runs."""
    spent = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return min(spent)


def main() -> None:
    """Print one line for each kind of work."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        view = MemoryView(Path(folder), _FAMILY)
        members = [view.add(f"site-{number}", name="nano") for number in range(4)]
        del members
        refs = [
            descend_request.file_of(found) for found in view.contributions.active(view.blueprint("nano").blueprint, ())
        ]
        family, worker = descend_request.family(view.blueprint("nano")), Worker(8)
        slots = Slots.create([SHARED_MEMORY, Path(folder)], 1, 128 << 20)
        pictures = Pictures.create([SHARED_MEMORY, Path(folder)])
        slot = slots.lease()
        order = Build(family, Size(12, 4), tuple((ref, 250) for ref in refs), str(slot.path), slot.size)
        with pictures.lent(rng.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)) as shared:
            support = WorkerSupport(family, shared, np.arange(48) % 4)
            works: dict[str, Callable[[], object]] = {
                "scoring 48 images": lambda: worker.score(support, [((refs[0], 1000),)]),
                "domain embedding of 48 images": lambda: worker.task_embedding(support),
                "building 12,4": lambda: list(worker.build(order)),
            }
            before = {name: best(work) for name, work in works.items()}
            can = overwrite_freed_memory()
            after = {name: best(work) for name, work in works.items()}
        pictures.close()
        slots.close()
    print("freed memory can be overwritten here:", can)
    for name in works:
        print(
            f"{name:32} {1e3 * before[name]:8.1f} ms -> {1e3 * after[name]:8.1f} ms, x {after[name] / before[name]:.3f}"
        )


if __name__ == "__main__":
    main()
