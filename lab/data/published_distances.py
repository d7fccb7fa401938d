"""What a learngene is worth to a task whose key is so far away, after `published_table.py` has filled a pool.

    python lab/data/published_distances.py BENCHMARK WORK [--size 12,6] [--draws N]

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
from published_table import SHOTS, TaskFeatures, accuracy, episode
from seed_sizes import drawn

from genepool_client import Pool
from genepool_client.pictures.images import load_images
from genepool_client.simulate.pool_process import PoolProcess
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.statistics import gain
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection.combination import single
from genepool_protocol.trust.anchors import read_anchors

IMAGES = 400
EDGES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 9.0)


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


def measure(pool: Pool, features: TaskFeatures, size: Size, draws: int) -> list[Pair]:
    """Every task, number of images, draw and learngene."""
    found = []
    for task, images in features.tasks.items():
        for shots, draw in itertools.product(SHOTS, range(draws)):
            shown = episode(images, shots, draw)
            answer = pool.select((images.pixels[shown[0]], shown[1]))
            seed = accuracy(features.of(task, size, ()), shown)
            chosen = accuracy(features.of(task, size, answer.weights), shown) - seed
            for one in answer.candidates:
                more = accuracy(features.of(task, size, single(one.contribution_id)), shown) - seed
                found.append(Pair(task, shots, draw, one.site, one.key_distance, one.place, seed, more, chosen))
        print(task, "is done", flush=True)
    return found


def mean(pairs: Sequence[Pair], figure: Callable[[Pair], float]) -> list[float]:
    """For each number of images a class."""
    return [float(np.mean([figure(one) for one in pairs if one.shots == shots])) for shots in SHOTS]


def alone(pair: Pair) -> float:
    """What the learngene gains."""
    return pair.gain


def tals(pair: Pair) -> float:
    """What TALS gains."""
    return pair.tals


def nothing(_pair: Pair) -> float:
    """What the seed gains over itself."""
    return 0.0


def rows(pairs: Sequence[Pair], figure: Callable[[Pair], float]) -> list[Row]:
    """For the intervals of the benchmark."""
    return [Row("distances", one.task, "", one.draw, one.shots, "", "", 0, figure(one)) for one in pairs]


def by_distance(pairs: Sequence[Pair]) -> str:
    """Mean gains of other domains' learngenes in points, and the share that gains, by how far their keys are."""
    lines = ["| distance of the key | pairs | mean gain at 1 / 5 images | share that gains |", "|---|---|---|---|"]
    for low, high in itertools.pairwise(EDGES):
        part = [one for one in pairs if low <= one.distance < high]
        if {one.shots for one in part} == set(SHOTS):
            gains = " / ".join(f"{100 * one:+.1f}" for one in mean(part, alone))
            shares = " / ".join(f"{one:.2f}" for one in mean(part, lambda one: one.gain > 0))
            lines.append(f"| {low:g} to {high:g} | {len(part)} | {gains} | {shares} |")
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
        cells += [" / ".join(f"{100 * one:+.1f}" for one in mean(first, figure)) for figure in (alone, tals)]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def altogether(pairs: Sequence[Pair]) -> str:
    """Gains over the seed with 95 % intervals over tasks and draws, where a site covers the domain and where not."""
    sites, lines = {one.site for one in pairs}, []
    for covered, shots in itertools.product((True, False), SHOTS):
        first = [one for one in pairs if one.place == 1 and one.shots == shots and (one.task in sites) == covered]
        right = f", the right site is nearest in {np.mean([one.site == one.task for one in first]):.0%}"
        found = [gain(rows(first, figure), rows(first, nothing)) for figure in (alone, tals)]
        kind = f"{'' if covered else 'not '}covered, images a class: {shots}"
        lines.append(f"{kind}: nearest learngene {found[0]}, TALS {found[1]}{right if covered else ''}")
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
                tasks[folder.name] = load_images(unseen, side) if unseen.exists() else drawn(folder, side, IMAGES)
            found = measure(consumer, TaskFeatures(consumer, tasks, work / "features"), args.size, args.draws)
    finally:
        pool.stop()
    (work / "distances.json").write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    others = [one for one in found if one.site != one.task]
    print(by_distance(others), by_domain(found), altogether(found), sep="\n\n")


if __name__ == "__main__":
    main()
