"""Private selection: embeddings and thin slices come here, TALS runs here, and only weights and a size are ever sent.

What the pool sees besides: which short-listed learngenes were fetched for the first time. The arithmetic is that of the
pool's workers (float32, one thread a candidate), so both give the same weights.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch

from genepool_client.consumer.select.remote import explain_empty
from genepool_client.consumer.select.selection import Selection, check_entry
from genepool_client.consumer.select.slices import Slices
from genepool_client.consumer.select.support import Support
from genepool_client.transport.channel import Connection
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.progress import Progress
from genepool_protocol.selection import net, tals
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.selection.embedding import task_embedding
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.scorer import Scorer, slope
from genepool_protocol.trust import digest
from genepool_protocol.v1 import consume_pb2, types_pb2
from genepool_protocol.wire.errors import InvalidInput, Refused

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MOST_THREADS: Final = 8
"""Candidates that are scored at the same time."""


def select(
    connection: Connection,
    blueprint: Blueprint,
    seed: Path,
    support: Support,
    licenses: Sequence[str],
    progress: Progress,
) -> Selection:
    """TALS at home.

    Args:
        connection: to the pool.
        blueprint: one of the pool's.
        seed: path of its verified seed.safetensors.
        support: stays here.
        licenses: SPDX names that may take part; empty: all.
        progress: called with (done, total, stage).

    Raises:
        Refused: POOL_EMPTY.
        InvalidInput: ARCH_MISMATCH, SAFETENSORS_MALFORMED or NON_FINITE, the pool sent no such embeddings or slices.
        GenepoolError: as `Connection.stream`.
    """
    entries, members = list_embeddings(connection, blueprint, licenses)
    progress(len(members), len(members), "keys")
    with one_thread():
        gene = seed_tensors(blueprint, seed)
        task = task_embedding(blueprint, gene, support.pixels)
        slices = Slices(connection, blueprint)
        if not licenses:  # else the pool listed a part of what it has
            slices.tidy(entries)
        evaluator = _Home(blueprint, gene, support, slices, progress)
        try:
            selection = tals.select(task, members, evaluator, labels=support.labels, progress=progress)
        except Refused as exc:
            raise explain_empty(exc, licenses) from exc
    return Selection.of_tals(blueprint.name, selection, entries)


def list_embeddings(
    connection: Connection, blueprint: Blueprint, licenses: Sequence[str]
) -> tuple[dict[str, types_pb2.Entry], list[Member]]:
    """Every active contribution of the pool with its domain embedding.

    Raises:
        InvalidInput: ARCH_MISMATCH, an embedding is not of the blueprint; NAME_INVALID, a site or licence is no name.
        GenepoolError: as `Connection.stream`.
    """
    entries: dict[str, types_pb2.Entry] = {}
    members: list[Member] = []
    request = consume_pb2.ListKeysRequest(blueprint=blueprint.name, licenses=licenses)
    with contextlib.closing(connection.stream(connection.select.ListKeys, request)) as answers:
        for response in answers:
            name = response.entry.contribution_id
            if not digest.is_sha256_hex(name) or name in entries:
                raise InvalidInput(
                    "ARCH_MISMATCH", "the pool listed a contribution twice, or without an id", "try again"
                )
            check_entry(response.entry)
            entries[name] = response.entry
            members.append(Member(name, _embedding(blueprint, response), response.entry.site, response.entry.log_index))
    return entries, members


def seed_tensors(blueprint: Blueprint, path: Path) -> net.Weights:
    """The seed gene as float32 tensors, by name."""
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    return net.as_tensors(algebra.views(layout, TensorFile(path).flat(layout).astype(np.float32)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch splits no sum over threads: the result must not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _embedding(blueprint: Blueprint, answer: consume_pb2.ListKeysResponse) -> Embedding:
    width = blueprint.embedding_width
    mean = np.frombuffer(answer.key_mean, dtype="<f4") if len(answer.key_mean) == 4 * width else None
    if mean is None or not np.isfinite(mean).all():
        raise InvalidInput(
            "ARCH_MISMATCH",
            f"the pool sent a domain embedding that is not {width} finite numbers",
            "tell the pool's operator",
        )
    if not 0 <= answer.key_noise < math.inf:
        raise InvalidInput(
            "ARCH_MISMATCH", "the pool sent a domain embedding with impossible noise", "tell the pool's operator"
        )
    return Embedding(mean, answer.key_noise)


class _Home:
    """The `Evaluator` at home: fetches the thin slices that it needs and computes on this machine's threads."""

    def __init__(
        self, blueprint: Blueprint, gene: net.Weights, support: Support, slices: Slices, progress: Progress
    ) -> None:
        self._blueprint, self._gene, self._support = blueprint, gene, support
        self._slices, self._progress = slices, progress

    def scores(self, mixtures: Sequence[Mixture]) -> Iterator[Score]:
        """The score of each mixture, in order."""
        self._fetch({name for mixture in mixtures for name, _ in mixture})
        scorer = self._scorer()
        return self._spread(lambda mixture: scorer.score(self._members(mixture)), mixtures)

    def slopes(self, mixture: Mixture, ids: Sequence[str]) -> list[float]:
        """The slopes at the mixture along each learngene, in order."""
        self._fetch({*ids, *(name for name, _ in mixture)})
        gradient = self._scorer().gradient(self._members(mixture))
        return list(self._spread(lambda name: slope(gradient, self._slices[name]), ids))

    def _fetch(self, names: set[str]) -> None:
        self._slices.ensure(names, lambda done, total: self._progress(done, total, "fetch"))

    def _members(self, mixture: Mixture) -> list[tuple[int, net.Weights]]:
        return [(milli, self._slices[name]) for name, milli in mixture]

    def _scorer(self) -> Scorer:
        if self._support.labels is None:
            raise InvalidInput("SUPPORT_MALFORMED", "an unlabelled support set cannot be scored", "give labels")
        return Scorer(self._blueprint, self._gene, self._support.pixels, self._support.labels)

    @staticmethod
    def _spread(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="genepool-tals") as threads:
            try:
                yield from threads.map(function, items)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
