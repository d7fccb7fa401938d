"""The descendant's forward as a function of its weights: what training, domain embeddings and scoring share.

Equal to timm's `VisionTransformer` under `descendant.model_args` (a test holds them together), but a plain function:
gradients flow through the expansion plan into a learngene.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection.pixels import to_images, to_patches
from genepool_protocol.selection.support import Pixels

Weights = Mapping[str, torch.Tensor]


def features(
    blueprint: Blueprint, size: Size, weights: Weights, patches: torch.Tensor, kept: torch.Tensor | None = None
) -> torch.Tensor:
    """Pooled features before the head.

    Args:
        blueprint: the family.
        size: the descendant's size.
        weights: tensors by timm's names, for instance `expansion.expand(plan, gene)`.
        patches: shape (N, tokens, 3 * patch * patch).
        kept: which patches of each image to look at, int64 of shape (N, K); all of them by default. Training drops
            patches (Liu et al. 2022, PatchDropout) for speed.

    Returns:
        Shape (N, width).
    """
    eps, width = float(blueprint.norm_eps), blueprint.width(size.heads)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    table, first = weights["pos_embed"], int(blueprint.class_token)
    prefix, positions = table[:, :first], table[:, first:]
    if kept is not None:
        patches = patches.gather(1, kept.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        positions = positions[0][kept]
    x = F.linear(patches, weights["patch_embed.proj.weight"].reshape(width, -1), weights["patch_embed.proj.bias"])
    x = x + positions
    if blueprint.class_token:
        x = torch.cat([(weights["cls_token"] + prefix).expand(len(x), -1, -1).to(x.dtype), x], dim=1)

    def scaled(branch: torch.Tensor, name: str) -> torch.Tensor:
        return branch * weights[f"{name}.gamma"] if blueprint.layer_scale else branch

    for layer in range(size.depth):
        name = f"blocks.{layer}"
        mixed = _attention(norm(x, f"{name}.norm1"), weights, f"{name}.attn", size.heads)
        x = x + scaled(mixed, f"{name}.ls1")
        hidden = F.linear(norm(x, f"{name}.norm2"), weights[f"{name}.mlp.fc1.weight"], weights[f"{name}.mlp.fc1.bias"])
        output = F.linear(F.gelu(hidden), weights[f"{name}.mlp.fc2.weight"], weights[f"{name}.mlp.fc2.bias"])
        x = x + scaled(output, f"{name}.ls2")
    if blueprint.pooling == "token":
        return norm(x[:, 0], "norm")
    return norm(x[:, first:], "norm").mean(dim=1)


def _attention(x: torch.Tensor, weights: Weights, name: str, heads: int) -> torch.Tensor:
    n, tokens, width = x.shape
    qkv = F.linear(x, weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"])
    q, k, v = qkv.view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    # matmul and softmax beat the fused kernel on CPUs at so few tokens
    scores = (q * (width // heads) ** -0.5) @ k.transpose(-2, -1)
    mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, tokens, width)
    return F.linear(mixed, weights[f"{name}.proj.weight"], weights[f"{name}.proj.bias"])


def draw_patches(images: int, tokens: int, share: float, generator: torch.Generator) -> torch.Tensor | None:
    """A random choice of patches for `features`, shape (images, share * tokens); None when the share is 1."""
    if share >= 1.0:
        return None
    order = torch.rand(images, tokens, generator=generator).argsort(dim=1)
    return order[:, : max(1, round(share * tokens))]


@torch.inference_mode()
def embed(blueprint: Blueprint, size: Size, weights: Weights, pixels: Pixels, batch: int = 64) -> torch.Tensor:
    """Features of uint8 images without gradients, shape (N, width), float32."""
    parts = [
        features(blueprint, size, weights, to_patches(blueprint, to_images(blueprint, pixels[i : i + batch])))
        for i in range(0, len(pixels), batch)
    ]
    return torch.cat(parts)


def as_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Float32 tensors of numpy arrays (copied: memory-mapped arrays must never be written to by torch)."""
    return {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in arrays.items()}
