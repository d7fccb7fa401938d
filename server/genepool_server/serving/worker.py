"""The worker: a plain class that maps learngenes, scores mixtures and builds descendants. It knows no Ray.

One instance lives as long as its process and is called from several threads at once.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net
from genepool_protocol.selection.embedding import task_embedding
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.scorer import Scorer, slope
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.serving import assembly
from genepool_server.serving.jobs import Build, Job, WorkerSupport
from genepool_server.serving.library import Family, Library, StoredFile
from genepool_server.serving.slots import map_shared
from genepool_server.serving.thin_slice import thin

_SEEDS: Final = 4
"""Blueprints whose seed a worker keeps widened to float32."""

_BASE_BYTES: Final = 256 << 20
"""Bytes of seeds descended to the sizes that were asked for last, kept by a worker."""


@dataclass(frozen=True, slots=True)
class _Seed:
    flat: algebra.Flat
    tensors: net.Weights


class Worker:
    """Scores and builds. Thread-safe.

    Args:
        mapped: how many learngenes stay mapped.
    """

    def __init__(self, mapped: int) -> None:
        self._library = Library(mapped)
        self._seeds: dict[str, _Seed] = {}
        self._bases: dict[tuple[str, Size], assembly.Base] = {}
        self._scratch: list[algebra.Flat] = []
        self._slots: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def task_embedding(self, support: WorkerSupport) -> Embedding:
        """The exact task embedding of the support set under its seed.

        Raises:
            StorageError: BLOB_CORRUPT.
        """
        with support.pixels.mapped() as pixels:
            return task_embedding(support.family.blueprint, self._seed(support.family).tensors, pixels)

    def score(
        self, support: WorkerSupport, jobs: Sequence[Job], cancelled: Callable[[], bool] = lambda: False
    ) -> list[Score]:
        """The scores of mixtures, in order; fewer when the caller does not want them any more.

        Args:
            support: labelled images.
            jobs: mixtures.
            cancelled: asked between two candidates.

        Raises:
            StorageError: BLOB_CORRUPT.
        """
        scores = []
        with self._scorer(support) as scorer:
            for job in jobs:
                if cancelled():
                    break
                scores.append(scorer.score([(milli, self._thin(support.family, ref)) for ref, milli in job]))
        return scores

    def slopes(
        self,
        support: WorkerSupport,
        job: Job,
        files: Sequence[StoredFile],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[float]:
        """Slopes of the leave-one-out error at a mixture, one a learngene, in order; see `score` for the rest."""
        members = [(milli, self._thin(support.family, ref)) for ref, milli in job]
        with self._scorer(support) as scorer:
            gradient = scorer.gradient(members)
        slopes = []
        for ref in files:
            if cancelled():
                break
            slopes.append(slope(gradient, self._thin(support.family, ref)))
        return slopes

    def build(self, order: Build) -> Iterator[int]:
        """Fill a slot with the data section of model.safetensors; yields how many bytes are final so far.

        Raises:
            StorageError: BLOB_CORRUPT.
        """
        blueprint = order.family.blueprint
        base = self._base(order.family, order.size)
        members = [(milli, self._delta(order.family, ref)) for ref, milli in order.members]
        count = algebra.elements(descendant.layout(blueprint, order.size))
        out = self._slot(order.slot, order.slot_bytes)[:count]
        length = algebra.elements(expansion.gene_layout(blueprint, blueprint.components))
        with self._borrowed(length) as scratch:
            yield from assembly.build_parts(blueprint, base, order.size, members, out=out, scratch=scratch)

    @contextmanager
    def _scorer(self, support: WorkerSupport) -> Iterator[Scorer]:
        if support.labels is None:
            raise GenepoolError("INTERNAL", "an unlabelled support set cannot be scored")
        with support.pixels.mapped() as pixels:
            yield Scorer(support.family.blueprint, self._seed(support.family).tensors, pixels, support.labels)

    def _seed(self, family: Family) -> _Seed:
        with self._lock:
            if family.seed.sha256 not in self._seeds:
                layout = expansion.gene_layout(family.blueprint, family.blueprint.seed.components)
                flat = self._library.flat(family.seed, layout).astype(np.float32)
                while len(self._seeds) >= _SEEDS:
                    self._seeds.pop(next(iter(self._seeds)))
                self._seeds[family.seed.sha256] = _Seed(flat, net.as_tensors(algebra.views(layout, flat)))
            return self._seeds[family.seed.sha256]

    def _base(self, family: Family, size: Size) -> assembly.Base:
        seed, name = self._seed(family).flat, (family.seed.sha256, size)
        with self._lock:
            base = self._bases.pop(name, None) or assembly.Base(family.blueprint, size, seed)
            self._bases[name] = base  # the last one is the one that was used last
            while 4 * sum(cached.values for cached in self._bases.values()) > _BASE_BYTES:
                self._bases.pop(next(iter(self._bases)))
            return base

    def _delta(self, family: Family, ref: StoredFile) -> algebra.Stored:
        return self._library.flat(ref, expansion.gene_layout(family.blueprint, family.blueprint.components))

    def _thin(self, family: Family, ref: StoredFile) -> net.Weights:
        return net.as_tensors(thin(family, self._delta(family, ref)))

    def _slot(self, path: str, size: int) -> algebra.Flat:
        with self._lock:
            if path not in self._slots:
                self._slots[path] = np.frombuffer(map_shared(Path(path), size), dtype=np.float32)
            return self._slots[path]

    @contextmanager
    def _borrowed(self, size: int) -> Iterator[algebra.Flat]:
        with self._lock:
            fitting = [index for index, buffer in enumerate(self._scratch) if buffer.size == size]
            buffer = self._scratch.pop(fitting[0]) if fitting else np.empty(size, dtype=np.float32)
        try:
            yield buffer
        finally:
            with self._lock:
                self._scratch = [*self._scratch, buffer][-_SEEDS:]
