"""What the seeds of some blueprints are worth alone, depth by depth: few-shot accuracy on public domains.

    python lab/data/seed_sizes.py BENCHMARK BLUEPRINT-FOLDER... [--domains a b c] [--depths 12 9 6] [--draws N]

Tasks of ten classes and five labelled images each, a closed-form head on fixed features, at most fifteen test images a
class, full width.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from genepool_client.consumer.descendant.head import fit_head
from genepool_client.pictures.images import ImageSet, image_set, load_images
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import net, pixels
from genepool_protocol.training import precision

WAYS, SHOTS, TEST, IMAGES = 10, 5, 15, 300


def drawn(folder: Path, side: int, images: int = IMAGES) -> ImageSet:
    """At most so many images of a domain, always the same ones."""
    found = load_images(folder, side)
    kept = np.sort(np.random.default_rng(0).permutation(len(found.labels))[:images])
    return image_set(found.pixels[kept], found.labels[kept], found.classes)


def read(folder: Path) -> tuple[Blueprint, net.Weights]:
    """A blueprint and its seed gene."""
    blueprint = parse_blueprint((folder / "blueprint.json").read_bytes())
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    flat = TensorFile(folder / "seed.safetensors").flat(layout).astype(np.float32)
    return blueprint, net.as_tensors(algebra.views(layout, flat))


@torch.inference_mode()
def features(blueprint: Blueprint, size: Size, weights: net.Weights, images: ImageSet) -> np.ndarray:
    """Pooled features, shape (images, width)."""
    found = []
    for start in range(0, len(images.labels), 64):
        batch = pixels.to_images(blueprint, images.pixels[start : start + 64])
        with precision.training("cpu"):
            found.append(net.features(blueprint, size, weights, pixels.to_patches(blueprint, batch)).float())
    return torch.cat(found).numpy()


def accuracy(seen: np.ndarray, labels: np.ndarray, draws: int) -> float:
    """Mean over the draws."""
    found = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        support, test = [], []
        for label in rng.permutation(np.unique(labels))[:WAYS]:
            order = rng.permutation(np.flatnonzero(labels == label))
            support.append(order[:SHOTS])
            test.append(order[SHOTS:][:TEST])
        head = fit_head(seen[np.concatenate(support)], np.repeat(np.arange(len(support)), [len(p) for p in support]))
        answer = (seen[np.concatenate(test)] @ head.weight.T + head.bias).argmax(axis=1)
        found.append((answer == np.repeat(np.arange(len(test)), [len(part) for part in test])).mean())
    return float(np.mean(found))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("blueprints", type=Path, nargs="+")
    parser.add_argument("--domains", nargs="+", default=["icons", "hangul", "stamps"])
    parser.add_argument("--depths", type=int, nargs="+", default=[12, 11, 9, 8, 6, 4, 3])
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    families = [(folder.name, *read(folder)) for folder in args.blueprints]
    domains = {name: drawn(args.benchmark / name, families[0][1].image) for name in args.domains}
    print("depth", "seed", *args.domains)
    for depth in args.depths:
        for name, blueprint, gene in families:
            size = Size(depth, blueprint.heads)
            weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), gene)
            seen = {domain: features(blueprint, size, weights, images) for domain, images in domains.items()}
            found = (accuracy(seen[domain], domains[domain].labels, args.draws) for domain in domains)
            print(depth, name, *(f"{one:.3f}" for one in found), flush=True)


if __name__ == "__main__":
    main()
