"""DINOv2 features of a baking corpus: what the seed learns to see.

    python teacher_features.py CORPUS dinov2_vits14.npz features.npz

Features are of the images without augmentation, as they are and with their brightness turned round, in the order in
which `genepool_server.bake` reads them.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch

from genepool_protocol.training import precision
from genepool_server.bake import read_corpus

SIDE = 98  # pixels: seven patches of 14
BATCH = 64


@torch.inference_mode()
def view(model: torch.nn.Module, images: np.ndarray, label: str) -> np.ndarray:
    """Class token and mean of the patches of uint8 images of shape (N, H, W, 3); float16 of shape (N, 768)."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    found = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        large = torch.nn.functional.interpolate((batch - mean) / std, size=SIDE, mode="bicubic", antialias=True)
        with precision.training("cpu"):
            tokens = model.forward_features(large).float()
        found.append(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1).half().numpy())
        print(f"{label}: {start + len(batch)} of {len(images)}", end="\r", flush=True)
    return np.concatenate(found)


def main(corpus: str, weights: str, out: str) -> None:
    """Write the features of both views to `out`."""
    model = timm.create_model(
        "vit_small_patch14_dinov2", pretrained=False, img_size=518, dynamic_img_size=True, num_classes=0
    ).eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in np.load(weights).items()}, strict=True)
    images = read_corpus(Path(corpus), 32).images
    np.savez(out, features=view(model, images, "as they are"), inverted=view(model, 255 - images, "inverted"))


if __name__ == "__main__":
    main(*sys.argv[1:4])
