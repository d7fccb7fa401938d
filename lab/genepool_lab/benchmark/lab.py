"""What every process of the benchmark has at hand, and the processes that compute cells."""

import multiprocessing
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch

from genepool_lab.benchmark.store import Store
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint, blueprint_folder, parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.machine import lifeline
from genepool_protocol.progress import Progress
from genepool_protocol.selection import net


@dataclass
class Lab:
    """The blueprint with its seed, and the store.

    Attributes:
        name: of a bundled blueprint.
        root: the store's folder.
    """

    name: str
    root: Path

    @cached_property
    def store(self) -> Store:
        """Where results lie."""
        return Store(self.root)

    @cached_property
    def blueprint(self) -> Blueprint:
        """The family."""
        return parse_blueprint((blueprint_folder(self.name) / "blueprint.json").read_bytes())

    @cached_property
    def seed(self) -> algebra.Flat:
        """The seed gene as one float32 vector."""
        layout = expansion.gene_layout(self.blueprint, self.blueprint.seed.components)
        return TensorFile(blueprint_folder(self.name) / "seed.safetensors").flat(layout).astype(np.float32)

    def gene(self, flat: algebra.Flat) -> algebra.Gene:
        """The tensors of a whole gene."""
        return algebra.views(expansion.gene_layout(self.blueprint, self.blueprint.seed.components), flat)

    @cached_property
    def seed_tensors(self) -> net.Weights:
        """The seed gene as tensors."""
        return net.as_tensors(self.gene(self.seed))

    def delta(self, member: str) -> algebra.Stored:
        """A learngene of the store as one vector."""
        return self.store.arrays(member)["delta"]


class Cell(Protocol):
    """One result that is computed once: its key names everything that it depends on."""

    @property
    def key(self) -> str:
        """Of the result in the store."""

    @property
    def cost(self) -> float:
        """Roughly the seconds of one core; costly cells start first."""

    def run(self, lab: Lab) -> None:
        """Compute it and put it into the store."""

    def __str__(self) -> str:
        """For a person who waits."""


_here: list[Lab] = []


def _open(lab: Lab) -> None:
    lifeline.end_with_launcher()
    torch.set_num_threads(1)
    _here.append(lab)


def _run(cell: Cell) -> float:
    started = time.process_time()
    cell.run(_here[0])
    return time.process_time() - started


class Workers:
    """Processes that compute cells; they are ended with the context, at once when it ends by an exception.

    Args:
        lab: what they work with.
        processes: how many.
    """

    def __init__(self, lab: Lab, processes: int) -> None:
        self._lab = lab
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_open, initargs=(lab,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            for child in multiprocessing.active_children():
                child.terminate()  # results are written whole, so there is nothing to wait for

    def compute(self, cells: Iterable[Cell], progress: Progress) -> float:
        """Compute the cells that are not in the store yet; none of them may need another one.

        Returns:
            Seconds of processor time that this took.
        """
        missing: dict[str, Cell] = {cell.key: cell for cell in cells if not self._lab.store.has(cell.key)}
        order: Sequence[Cell] = sorted(missing.values(), key=lambda cell: -cell.cost)
        waiting = {self._pool.submit(_run, cell): cell for cell in order}
        seconds = 0.0
        for count, finished in enumerate(as_completed(waiting), start=1):
            seconds += finished.result()
            progress(count, len(order), str(waiting[finished]))
        return seconds
