"""What it costs small sites that their noise is not taken off a distance, and how far honest embeddings lie apart.

    python -m tests.benchmarks.embeddings OUT [--draws N]

One site has few images, the five others 700; tasks are the sample pack's, five images a class, of the small site's
kind. For each number of images: how often the small site is the nearest, by the plain distance and by the one that
takes off what the noise surely adds (the rule until kernel 2), and what its learngene would weigh alone.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genepool_client.simulate.episodes import draw_episode
from genepool_protocol.selection import combination
from tests.benchmarks import honest

Numbers = npt.NDArray[np.float64]
_SITES, _SHOTS = (20, 50, 100, 200, 700), 5


def distances(task: Numbers, means: Numbers, noise: Numbers, *, off: bool) -> Numbers:
    """Root mean squares of the differences, with or without the noise taken off."""
    squares = np.mean((means - task) ** 2, axis=1)
    sure = (1 - 2 * math.sqrt(2 / len(task))) * noise**2
    roots: Numbers = np.sqrt(np.maximum(squares - sure * off, 0))
    return roots


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    family = honest.family()
    sites, tasks = honest.pack(options.out, family.blueprint)
    vectors = {name: family.vectors(images) for name, images in (sites | tasks).items()}
    rng, names = np.random.default_rng(0), list(sites)
    print("images   nearest: taken off  plain   weight alone   distance: least of noise, median")
    for images in _SITES:
        hits: dict[bool, list[bool]] = {True: [], False: []}
        near, weight = [], []
        noise_of = family.sigma(images)
        for target, site in honest.TARGETS.items():
            for draw in range(options.draws):
                noise = np.array([noise_of if name == site else family.sigma(700) for name in names])
                exact = [
                    rng.permutation(vectors[name])[: images if name == site else 700].mean(axis=0) for name in names
                ]
                means = np.stack(exact) + noise[:, None] * rng.standard_normal(
                    (len(names), family.blueprint.embedding_width)
                )
                places = np.arange(len(tasks[target].labels))
                shown = draw_episode(target, places, tasks[target].labels, _SHOTS, draw).support
                task = vectors[target][shown].mean(axis=0)
                for off, hit in hits.items():
                    hit.append(names[int(distances(task, means, noise, off=off).argmin())] == site)
                own = float(distances(task, means, noise, off=False)[names.index(site)])
                near.append(own)
                weight.append(combination.trust(own) / 1000)
        shares = f"{np.mean(hits[True]):.2f}  {np.mean(hits[False]):.2f}"
        print(
            f"{images:6}   {shares}   {np.mean(weight):.2f}   {0.496 * noise_of:.2f}  {np.median(near):.2f}", flush=True
        )


if __name__ == "__main__":
    main()
