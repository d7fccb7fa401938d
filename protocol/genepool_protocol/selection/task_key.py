"""Keys: what a site publishes about its data, and what a task is matched by.

A key is the mean and the standard deviation of the seed's pooled features at the blueprint's key size, with noise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import net
from genepool_protocol.selection.pixels import Pixels

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Key:
    """Mean and standard deviation per feature, float32 of shape (width of the key size,)."""

    mean: Vector
    std: Vector


def key_of(features: torch.Tensor) -> Key:
    """The exact key of features of shape (N, width); a single image has standard deviation 0."""
    std = features.std(dim=0, unbiased=False)
    return Key(features.mean(dim=0).numpy().astype(np.float32), std.numpy().astype(np.float32))


def seed_weights(blueprint: Blueprint, seed: net.Weights) -> net.Weights:
    """The seed's net at the key size, from the full-width seed gene."""
    size = blueprint.key.size()
    return expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)


def task_key(blueprint: Blueprint, seed: net.Weights, pixels: Pixels) -> Key:
    """The key of a set of images under the seed.

    Args:
        blueprint: the family.
        seed: the full-width seed gene as tensors.
        pixels: uint8, shape (N, image, image, 3).
    """
    return key_of(net.embed(blueprint, blueprint.key.size(), seed_weights(blueprint, seed), pixels))


def noised(key: Key, count: int, *, clip: float, sigma: float, rng: np.random.Generator) -> Key:
    """A key that may leave a site: clipped per feature, with Gaussian noise that shrinks with the number of images.

    One image moves a clipped mean by at most 2 * clip / count in each feature; the noise has `sigma` times that
    standard deviation. This blurs single images; it is not a proof of differential privacy.
    """
    scale = sigma * 2 * clip / max(count, 1)

    def blur(values: Vector) -> Vector:
        return (np.clip(values, -clip, clip) + rng.normal(0.0, scale, values.shape)).astype(np.float32)

    return Key(blur(key.mean), np.maximum(blur(key.std), 0))
