"""What a key and a learngene tell of who was among a site's images: membership inference, measured.

    python -m tests.benchmarks.leakage DATA OUT [--images N ...] [--domains NAME ...]

DATA holds domains as folders of class folders. For every domain and number a site is trained on half of the images of
some classes; the other half was never seen. Trainings are kept in OUT, so a run goes on. The attacks:

- **key**: the attacker holds the image in question and the key. The informed one also knows every other image of the
  site, which is the enemy of the definition of differential privacy; the other one knows images of the same kind.
- **weights**: the attacker holds the learngene, the seed and labelled images of the same classes, fits a head for each
  of the two nets, and takes an image for a member the more its loss falls from the seed to the descendant (a
  likelihood ratio against a reference net, after Carlini et al. 2022 and Watson et al. 2022).
"""

import argparse
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genepool_client.pictures.images import ImageSet, image_set, load_images
from genepool_client.training import ancestry, condense
from genepool_client.training import privacy as site_privacy
from genepool_protocol.learngene import algebra, expansion, privacy
from genepool_protocol.learngene.blueprint import Blueprint, bundled_folder, parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import discriminant, embedding, net

Numbers = npt.NDArray[np.float64]
_MOST_CLASSES, _SHARE, _LOW = 16, 0.66, 0.01


def auc(members: Numbers, others: Numbers) -> float:
    """The chance that a member scores above another image; ties count half."""
    pairs = members[:, None] - others[None, :]
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def caught(members: Numbers, others: Numbers, false_alarms: float = _LOW) -> float:
    """The share of members found at a threshold that so many others pass."""
    return float((members > np.quantile(others, 1 - false_alarms)).mean())


def interval(members: Numbers, others: Numbers, rounds: int = 1000) -> tuple[float, float]:
    """A 95 % bootstrap interval of `auc` over images."""
    rng = np.random.default_rng(0)
    found = [auc(rng.choice(members, len(members)), rng.choice(others, len(others))) for _ in range(rounds)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def key_scores(
    vectors: Numbers, images: int, sigma: float, *, informed: bool, trials: int, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """How sure an attacker is of an image that is in a key, and of one that is not, in so many worlds each.

    Args:
        vectors: standard features of images of one kind, shape (N, width); N is larger than `images`.
        images: of the site.
        sigma: noise of the domain embedding; 0 for none.
        informed: the attacker knows every other image.
        trials: worlds.
        rng: which images, and noise.
    """
    scores: tuple[list[float], list[float]] = ([], [])
    for world in range(2 * trials):
        order = rng.permutation(len(vectors))
        target, site, rest = vectors[order[0]], order[1 : images + 1], vectors[order[images + 1 :]]
        inside = world % 2 == 0
        chosen = vectors[site].copy()
        replaced = chosen[0].copy()
        if inside:
            chosen[0] = target
        key = chosen.mean(axis=0) + sigma * rng.standard_normal(vectors.shape[1])
        if informed:  # which of two keys is it, with the target or with the image in whose place it would be?
            base = chosen[1:].sum(axis=0)
            distances = [float(((key - (base + one) / images) ** 2).sum()) for one in (target, replaced)]
            score = distances[1] - distances[0]
        else:
            mean = rest.mean(axis=0)
            spread = np.cov(rest.T) / images + (sigma**2 + 1e-9) * np.eye(vectors.shape[1])
            score = float((key - mean) @ np.linalg.solve(spread, target - mean))
        scores[not inside].append(score)
    return np.array(scores[0]), np.array(scores[1])


@dataclass(frozen=True, slots=True)
class Split:
    """Places of a site's images, and of the unseen ones of the same classes."""

    classes: npt.NDArray[np.int64]
    inside: npt.NDArray[np.int64]
    outside: npt.NDArray[np.int64]


def split(images: ImageSet, count: int, name: str) -> Split:
    """At most so many images of some classes for a site, the rest of these classes for the attack."""
    rng = np.random.default_rng([7, *name.encode()])
    order = rng.permutation(len(images.classes))
    classes = np.sort(order[: max(5, min(_MOST_CLASSES, 2 * len(order) // 3))])
    places = rng.permutation(np.flatnonzero(np.isin(images.labels, classes)))
    taken = min(count, int(len(places) * _SHARE))
    return Split(classes, places[:taken], places[taken:])


def train(blueprint: Blueprint, seed: dict[str, np.ndarray], images: ImageSet, found: Split) -> algebra.Flat:
    """The learngene of a site that holds these images."""
    labels = np.searchsorted(found.classes, images.labels[found.inside])
    site = image_set(images.pixels[found.inside], labels, [images.classes[one] for one in found.classes])
    count = len(labels)
    with tempfile.TemporaryDirectory() as name:
        work, tell = Path(name), lambda *_: None
        old = ancestry.train_ancestry(
            blueprint, seed, site, work, recipe=ancestry.default_recipe(count, len(found.classes)), progress=tell
        )
        made = condense.condense(
            blueprint,
            seed,
            site,
            old.weights,
            work,
            recipe=condense.default_recipe(count, len(found.classes)),
            progress=tell,
        )
    return algebra.flatten(expansion.gene_layout(blueprint, blueprint.components), made.delta)


def weight_scores(
    blueprint: Blueprint, seed: net.Weights, delta: algebra.Flat, images: ImageSet, found: Split
) -> tuple[Numbers, Numbers]:
    """How much the loss of members and of others falls from the seed's net to the learngene's.

    Half of the images outside are the attacker's own; the other half, and as many members, are asked about.
    """
    half = len(found.outside) // 2
    own, others = found.outside[:half], found.outside[half:]
    members = found.inside[: len(others)] if len(found.inside) >= len(others) else found.inside
    size, layout = blueprint.reference, expansion.gene_layout(blueprint, blueprint.components)
    weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)
    added = expansion.expand(
        expansion.plan(blueprint, size, blueprint.components), net.as_tensors(algebra.views(layout, delta))
    )
    moved = {name: part + added[name] for name, part in weights.items()}
    falls = []
    for one in (weights, moved):
        features = {
            name: net.embed(blueprint, size, one, images.pixels[places]).double()
            for name, places in (("own", own), ("members", members), ("others", others))
        }
        known = torch.from_numpy(np.unique(images.labels[own], return_inverse=True)[1])
        head = discriminant.fit(features["own"], known)
        classes = np.unique(images.labels[own])
        falls.append(
            {
                name: _losses(head(features[name]), classes, images.labels[places])
                for name, places in (("members", members), ("others", others))
            }
        )
    return tuple(falls[0][name] - falls[1][name] for name in ("members", "others"))  # type: ignore[return-value]


def _losses(logits: torch.Tensor, classes: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Numbers:
    wanted = torch.from_numpy(np.searchsorted(classes, labels).clip(max=len(classes) - 1))
    losses: Numbers = torch.nn.functional.cross_entropy(logits, wanted, reduction="none").numpy()
    return losses


def bounds(epsilon: float, delta: float) -> tuple[float, float]:
    """AUC, and share caught at one false alarm in a hundred, that no attack on a key can exceed."""
    ratio = privacy.ratio_of(epsilon, delta)

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    return phi(ratio / math.sqrt(2)), phi(-2.3263478740408408 + ratio)


def main(data: Path, out: Path, counts: list[int], domains: list[str]) -> None:
    """Run both attacks and write OUT/leakage.json."""
    torch.set_num_threads(1)
    folder = bundled_folder("nano-32")
    blueprint = parse_blueprint((folder / "blueprint.json").read_bytes())
    gene = {name: array.astype(np.float32) for name, array in TensorFile(folder / "seed.safetensors").all().items()}
    seed, clip = net.as_tensors(gene), float(blueprint.embedding_frame.clip)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in domains or sorted(path.name for path in data.iterdir() if path.is_dir()):
        images = load_images(data / name, blueprint.image)
        weights = embedding.seed_weights(blueprint, seed)
        vectors = embedding.standard(
            blueprint, net.embed(blueprint, blueprint.key.size(), weights, images.pixels)
        ).numpy()
        for count in counts:
            kept, found = out / f"{name}-{count}.npz", split(images, count, name)
            if not kept.exists():
                np.savez(kept, delta=train(blueprint, gene, images, found).astype(np.float16))
            delta = np.load(kept)["delta"].astype(np.float32)
            pair = weight_scores(blueprint, seed, delta, images, found)
            row = {
                "domain": name,
                "images": len(found.inside),
                "weights": [auc(*pair), caught(*pair), *interval(*pair)],
            }
            sigma = float(site_privacy.sigma_of(clip, count, privacy.EPSILON, privacy.DELTA))
            for informed in (False, True):
                for noise in (0.0, sigma):
                    rng = np.random.default_rng(5)
                    pair = key_scores(vectors, count, noise, informed=informed, trials=500, rng=rng)
                    row[f"key{'_informed' * informed}{'_noised' * (noise > 0)}"] = [auc(*pair), caught(*pair)]
            rows.append(row)
            print(json.dumps(row), flush=True)
            (out / "leakage.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 200, 700])
    parser.add_argument("--domains", nargs="*", default=[])
    options = parser.parse_args()
    main(options.data, options.out, options.images, options.domains)
