"""What a seed is like, measured on public images: what each size is worth, and how domain embeddings are scaled.

A size's worth is the seed's few-shot accuracy on domains that it was not baked from. Domain embeddings are centred on
the mean of the sets that it was baked from, scaled by how much features vary within a set, folded where there are many
features, and clipped to a length that nine in ten of these images reach, so that nearly every image weighs the same and
none more.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint, EmbeddingSpace, MeasuredSize
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.progress import Progress, silent
from genepool_protocol.selection import discriminant, embedding, net
from genepool_protocol.wire.errors import InvalidInput
from genepool_server.bake.corpus import Corpus

SHOTS: Final = 5
"""Labelled images of a class in a task."""

_WAYS: Final = 5  # classes of a task
_LEAST: Final = 2 * SHOTS  # images of a class that tasks are made of
_RNG: Final = 0
_CLIPPED: Final = 0.1  # quantile of public lengths
_LEAST_SCALE: Final = 1e-3
_WIDTHS: Final = range(32, 65)
"""Numbers that embeddings of more features are folded to. With the 384 of DINOv2 ViT-S/14 the nearest of 18 noised
embeddings is the right site's in .12 / .35 / .66 / .87 of the tasks (50 / 100 / 200 / 700 images a site), with 64
folded numbers in .22 / .54 / .77 / .89, with 32 in .27 / .58 / .78 / .88; random projections and principal components
do no better."""

Task = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Places of its images in the corpus: those with labels, shape (classes, SHOTS), and all others of these classes."""


def seed_gene(blueprint: Blueprint, path: Path) -> net.Weights:
    """The seed gene in a file, as float32 tensors by name."""
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    return net.as_tensors(algebra.views(layout, TensorFile(path).flat(layout).astype(np.float32)))


def measured(
    blueprint: Blueprint, seed: net.Weights, public: Corpus, draws: int, progress: Progress = silent
) -> list[MeasuredSize]:
    """Every size with the mean accuracy of the seed's head of `SHOTS` images a class, over the same tasks for all.

    Args:
        blueprint: the family.
        seed: its seed gene.
        public: domains as SET/CLASS that the seed was not baked from.
        draws: tasks of each domain.
        progress: called with (sizes done, sizes, the last one's accuracy).

    Raises:
        InvalidInput: FOLDER_EMPTY, no domain has two classes of enough images.
    """
    chosen = list(_tasks(public, draws))
    if not chosen:
        what = f"no domain has two classes of {_LEAST} images"
        raise InvalidInput("FOLDER_EMPTY", what, "give domains as SET/CLASS/*.png with more images")
    family = blueprint.sizes()
    rows = []
    for size in family:
        weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)
        features = net.embed(blueprint, size, weights, public.images).double()
        score = float(np.mean([_accuracy(features, public.labels, task) for task in chosen]))
        rows.append(_row(blueprint, size, score))
        progress(len(rows), len(family), f"{size}: {score:.3f}")
    return rows


def embedding_space(blueprint: Blueprint, seed: net.Weights, public: Corpus) -> EmbeddingSpace:
    """How embeddings are centred, scaled and clipped, from public images alone; every set counts alike."""
    weights = embedding.seed_weights(blueprint, seed)
    features = net.embed(blueprint, blueprint.key.size(), weights, public.images).double().numpy()
    owners = np.array([name.partition("/")[0] for name in public.names])[public.labels]
    sets = [features[owners == name] for name in sorted(set(owners))]
    centre = np.mean([own.mean(axis=0) for own in sets], axis=0)
    scale = np.maximum(np.sqrt(np.mean([own.var(axis=0) for own in sets], axis=0)), _LEAST_SCALE)
    width = max((width for width in _WIDTHS if len(centre) % width == 0), default=len(centre))
    lengths = embedding.folded(torch.from_numpy(features), centre, scale, width).norm(dim=1).numpy()
    return EmbeddingSpace(
        centre=[f"{value:.4f}" for value in centre],
        scale=[f"{value:.4f}" for value in scale],
        width=width,
        clip=f"{np.quantile(lengths, _CLIPPED):.2f}",
    )


def _row(blueprint: Blueprint, size: Size, score: float) -> MeasuredSize:
    return MeasuredSize(
        depth=size.depth,
        heads=size.heads,
        params=blueprint.params(size),
        bytes=blueprint.most_bytes(size),
        score=f"{score:.4f}",
    )


def _tasks(public: Corpus, draws: int) -> Iterator[Task]:
    rng = np.random.default_rng(_RNG)
    for classes in _domains(public).values():
        for _ in range(draws if len(classes) > 1 else 0):
            order = [rng.permutation(classes[at]) for at in rng.permutation(len(classes))[:_WAYS]]
            yield np.stack([own[:SHOTS] for own in order]), np.concatenate([own[SHOTS:] for own in order])


def _domains(public: Corpus) -> Mapping[str, list[npt.NDArray[np.int64]]]:
    domains: dict[str, list[npt.NDArray[np.int64]]] = {}
    for label, name in enumerate(public.names):
        own = np.flatnonzero(public.labels == label)
        if len(own) >= _LEAST:
            domains.setdefault(name.partition("/")[0], []).append(own)
    return domains


def _accuracy(features: torch.Tensor, labels: npt.NDArray[np.int64], task: Task) -> float:
    shown, asked = task
    head = discriminant.fit(features[shown.reshape(-1)], torch.arange(len(shown)).repeat_interleave(SHOTS))
    answers = labels[shown[:, 0]][head(features[asked]).argmax(dim=1).numpy()]
    return float((answers == labels[asked]).mean())
