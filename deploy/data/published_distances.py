"""What a learngene is worth to a task whose key is so far away, after `published_table.py` has filled a pool.

    python deploy/data/published_distances.py BENCHMARK WORK [--size 12,6] [--draws N]

Every domain of the benchmark gives tasks of five classes: of a site's domain those that it did not see, of all others
any. Each learngene of the pool in WORK is taken at the weight of one that is trusted, beside the seed and beside what
TALS chooses. It prints gains over the seed by distance, and TALS by domain, and writes distances.json into WORK.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from published_table import SHOTS, Features, accuracy, episode

from genepool_client import Pool
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.site.images import ImageSet, image_set, load_images
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection.combination import single
from genepool_protocol.trust.anchors import read_anchors

IMAGES = 400
EDGES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 9.0)


@dataclass(frozen=True, slots=True)
class Pair:
    """One draw of a task and one learngene; accuracies are shares of the test images, gains are over the seed."""

    task: str
    shots: int
    draw: int
    site: str
    distance: float
    place: int  # of its key, 1 is the nearest
    seed: float
    gain: float
    tals: float  # what TALS gains on this draw


def some(folder: Path, side: int) -> ImageSet:
    """At most `IMAGES` images of a folder, always the same ones."""
    found = load_images(folder, side)
    kept = np.sort(np.random.default_rng(0).permutation(len(found.labels))[:IMAGES])
    return image_set(found.pixels[kept], found.labels[kept], found.classes)


def measure(pool: Pool, features: Features, size: Size, draws: int) -> list[Pair]:
    """Every task, number of images, draw and learngene."""
    found = []
    for task, images in features.tasks.items():
        for shots, draw in itertools.product(SHOTS, range(draws)):
            drawn = episode(images, shots, draw)
            answer = pool.select((images.pixels[drawn[0]], drawn[1]))
            seed = accuracy(features.of(task, size, ()), drawn)
            tals = accuracy(features.of(task, size, answer.weights), drawn) - seed
            for one in answer.candidates:
                gain = accuracy(features.of(task, size, single(one.contribution_id)), drawn) - seed
                found.append(Pair(task, shots, draw, one.site, one.key_distance, one.place, seed, gain, tals))
        print(task, "is done", flush=True)
    return found


def mean(pairs: Sequence[Pair], figure: Callable[[Pair], float]) -> list[float]:
    """For each number of images a class."""
    return [float(np.mean([figure(one) for one in pairs if one.shots == shots])) for shots in SHOTS]


def by_distance(pairs: Sequence[Pair]) -> str:
    """Mean gains of single learngenes in points, and the share that gains, by how far their keys are."""
    lines = ["| distance of the key | pairs | mean gain at 1 / 5 images | share that gains |", "|---|---|---|---|"]
    for low, high in itertools.pairwise(EDGES):
        part = [one for one in pairs if low <= one.distance < high]
        if {one.shots for one in part} == set(SHOTS):
            gains = " / ".join(f"{100 * one:+.1f}" for one in mean(part, lambda one: one.gain))
            shares = " / ".join(f"{one:.2f}" for one in mean(part, lambda one: one.gain > 0))
            lines.append(f"| {low:.1f} to {high:.1f} | {len(part)} | {gains} | {shares} |")
    return "\n".join(lines)


def by_domain(pairs: Sequence[Pair]) -> str:
    """Whose key is nearest most often, how far it is, and what its learngene and TALS gain."""
    lines = ["| domain | nearest | distance | seed at 1 / 5 | nearest learngene | TALS |", "|---" * 6 + "|"]
    for task in dict.fromkeys(one.task for one in pairs):
        first = [one for one in pairs if one.task == task and one.place == 1]
        whose = [one.site for one in first]
        often = max(sorted(set(whose)), key=whose.count)
        cells = [f"{often}, {whose.count(often)} of {len(whose)}", f"{np.mean([one.distance for one in first]):.2f}"]
        cells.append(" / ".join(f"{one:.3f}" for one in mean(first, lambda one: one.seed)))
        figures = (lambda one: one.gain, lambda one: one.tals)
        cells += [" / ".join(f"{100 * one:+.1f}" for one in mean(first, figure)) for figure in figures]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", type=Size.parse, default=Size(12, 6))
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    work = args.work.absolute()
    torch.set_num_threads(1)
    pool = PoolProcess(work / "pool", work, "vit-s14")
    pool.start()
    try:
        anchors = read_anchors(pool.folder / "pool.json")
        with Pool(pool.address, anchors=anchors, memory=work / "seen") as consumer:
            side, tasks = consumer.blueprint.image, {}
            for folder in sorted(path for path in args.benchmark.iterdir() if path.is_dir()):
                unseen = work / "data" / "tasks" / f"{folder.name}-unseen"
                tasks[folder.name] = load_images(unseen, side) if unseen.exists() else some(folder, side)
            found = measure(consumer, Features(consumer, tasks, work / "features"), args.size, args.draws)
    finally:
        pool.stop()
    (work / "distances.json").write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    print(by_distance(found), by_distance([one for one in found if one.place == 1]), by_domain(found), sep="\n\n")


if __name__ == "__main__":
    main()
