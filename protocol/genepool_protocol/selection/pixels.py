"""From uint8 pixels to normalised patches, and the augmentation that training uses."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection.support import Pixels


def to_images(blueprint: Blueprint, pixels: Pixels) -> torch.Tensor:
    """Normalised float32 images of shape (N, 3, H, W)."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).to(torch.float32) / 255.0
    mean = torch.tensor([float(value) for value in blueprint.mean]).view(1, 3, 1, 1)
    std = torch.tensor([float(value) for value in blueprint.std]).view(1, 3, 1, 1)
    return (images - mean) / std


def to_patches(blueprint: Blueprint, images: torch.Tensor) -> torch.Tensor:
    """Patches of normalised images, shape (N, tokens, 3 * patch * patch), in the order of a convolution's weight."""
    return F.unfold(images, kernel_size=blueprint.patch, stride=blueprint.patch).transpose(1, 2).contiguous()


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Small random shifts, scalings, turns and contrast; no flips, so that letters stay letters.

    Args:
        images: normalised, shape (N, 3, H, W).
        generator: where the randomness comes from; of the CPU, so that every device sees the same draws.
    """
    n = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle, scale = uniform(-math.pi / 18, math.pi / 18), uniform(0.85, 1.15)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * scale
    theta[:, 0, 1], theta[:, 1, 0] = -torch.sin(angle) * scale, torch.sin(angle) * scale
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.15, 0.15), uniform(-0.15, 0.15)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast, brightness = uniform(0.75, 1.25).to(images.device), uniform(-0.2, 0.2).to(images.device)
    return moved * contrast.view(n, 1, 1, 1) + brightness.view(n, 1, 1, 1)
