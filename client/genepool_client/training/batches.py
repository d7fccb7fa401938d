"""A site's images as the batches of its training."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from genepool_client.training.recipe import TrainRecipe
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import net, pixels
from genepool_protocol.selection.support import Pixels

_ENOUGH: Final = 20
"""Held-out images from which their errors decide anything: one image of fewer is five points; not measured."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's images.

    Attributes:
        patches: shape (N, tokens, 3 * patch * patch).
        kept: the patches to look at, shape (N, K), or None for all.
        labels: shape (N,).
    """

    patches: torch.Tensor
    kept: torch.Tensor | None
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Images as normalised tensors, and where their batches come from."""

    blueprint: Blueprint
    images: torch.Tensor  # (N, 3, H, W)
    labels: torch.Tensor  # (N,)
    weight: torch.Tensor  # (N,): how often each is drawn; classes count by the square root of their size

    @classmethod
    def of(cls, blueprint: Blueprint, images: Pixels, labels: np.ndarray, device: str) -> "TrainingImages":
        """Of uint8 images of shape (N, H, W, 3) and their classes, shape (N,)."""
        classes = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        weight = torch.bincount(classes).to(torch.float32).rsqrt()[classes]
        return cls(blueprint, pixels.to_images(blueprint, images).to(device), classes.to(device), weight)

    def whole(self, most: int) -> Batch | None:
        """The first `most` images as they are, or None when there are too few to tell anything."""
        if len(self.labels) < _ENOUGH:
            return None
        return Batch(pixels.to_patches(self.blueprint, self.images[:most]), None, self.labels[:most])

    def batch(self, recipe: TrainRecipe, step: int, rng: torch.Generator) -> Batch:
        """The augmented batch of a step."""
        repeated = recipe.batch > len(self.weight)
        chosen = torch.multinomial(self.weight, recipe.batch, replacement=repeated, generator=rng)
        chosen = chosen.to(self.labels.device)
        images = pixels.augment(self.images[chosen], rng)
        share = recipe.patches if step < recipe.whole * recipe.steps else 1.0
        patch_index = net.draw_patches(recipe.batch, self.blueprint.tokens, share, rng)
        return Batch(
            pixels.to_patches(self.blueprint, images),
            None if patch_index is None else patch_index.to(self.labels.device),
            self.labels[chosen],
        )
