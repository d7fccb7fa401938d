"""Embeddings: what a site publishes about its data, and what a task is matched by.

On the wire and in stored JSON they are called by their first name, "key".

An embedding is a mean over images of the seed's pooled features at the blueprint's embedding size. Before the mean, the
features of each image are centred, scaled, folded to fewer numbers and clipped to a largest norm, all as the blueprint
says, which knows it from public images alone. So no image can move the sum by more than the clip, whoever owns it, and
a site's embedding can carry noise that is calibrated to that (`genepool_protocol.learngene.privacy`). A task embedding
is exact: it stays where the task is.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.selection import net
from genepool_protocol.selection.support import Pixels


def standard(blueprint: Blueprint, features: torch.Tensor) -> torch.Tensor:
    """Features (N, width of the embedding size) as the blueprint's embeddings have them: float64 (N, embedding width).

    They are centred, scaled, folded and clipped, so that none is too long.
    """
    frame = blueprint.embedding_frame
    vectors, clip = folded(features, frame.centre, frame.scale, frame.width), float(frame.clip)
    shrunk: torch.Tensor = vectors * (clip / vectors.norm(dim=1, keepdim=True).clamp_min(clip))
    return shrunk


def folded(features: torch.Tensor, centre: Sequence[float], scale: Sequence[float], width: int) -> torch.Tensor:
    """Features centred, scaled, and added up by their place modulo `width`; float64, shape (N, width).

    Sums of k are divided by the root of k, so that numbers vary as much as the features did. Noise for privacy is as
    long as the longest image times the root of the numbers that carry it: fewer numbers, less noise.
    """
    centred = (features.double() - torch.tensor(centre, dtype=torch.float64)) / torch.tensor(scale, dtype=torch.float64)
    parts = centred.reshape(len(centred), -1, width)
    sums: torch.Tensor = parts.sum(dim=1) / math.sqrt(parts.shape[1])
    return sums


def seed_weights(blueprint: Blueprint, seed: net.Weights) -> net.Weights:
    """The seed's net at the embedding size, from the full-width seed gene."""
    size = blueprint.key.size()
    return expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)


def task_embedding(blueprint: Blueprint, seed: net.Weights, pixels: Pixels) -> Embedding:
    """The exact embedding of a set of images under the seed.

    Args:
        blueprint: the family.
        seed: the full-width seed gene as tensors.
        pixels: uint8, shape (N, image, image, 3).
    """
    return Embedding(mean_of(blueprint, seed, pixels).astype(np.float32))


def mean_of(blueprint: Blueprint, seed: net.Weights, pixels: Pixels) -> npt.NDArray[np.float64]:
    """The mean behind `task_embedding` before it is rounded, which is what noise is added to."""
    features = net.embed(blueprint, blueprint.key.size(), seed_weights(blueprint, seed), pixels)
    mean: npt.NDArray[np.float64] = standard(blueprint, features).mean(dim=0).numpy()
    return mean
