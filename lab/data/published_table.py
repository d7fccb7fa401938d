"""The table of a blueprint with a strong seed: what learngenes of three sites add to it, through a real pool.

    python lab/data/published_table.py BLUEPRINT-FOLDER BENCHMARK WORK [--domains a b c] [--steps N] [--draws N]

Every domain's first two thirds of classes are a site's, the others nobody's: tasks are five of those (or all that
there are). Everything goes the way of production: a pool server, invitations, `genepool site contribute`, private
selection, descents that are verified. Repeated after an interruption, it goes on with what is there. It writes
table.json and table.md into WORK.
"""

import argparse
import itertools
import json
import resource
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import timm
import torch

from genepool_client import Pool
from genepool_client.consumer.descendant.head import fit_head
from genepool_client.pictures.images import ImageSet, load_images
from genepool_client.simulate import site_run, start_weights
from genepool_client.simulate.partition import hold_out
from genepool_client.simulate.pool_operator import PoolOperator
from genepool_client.simulate.pool_process import PoolProcess
from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.statistics import gain, mean, where
from genepool_protocol.learngene.size import Size
from genepool_protocol.machine.processes import script
from genepool_protocol.selection import net, pixels
from genepool_protocol.training import precision
from genepool_protocol.trust.anchors import read_anchors

WAYS, TEST, SHOTS = 5, 15, (1, 5)
REVIEW = 60  # seconds that the last review may take
OWN = "the domain's own learngene"


def contribute(operator: PoolOperator, name: str, data: Path, folder: Path, steps: int) -> dict[str, object]:
    """One site, from its invitation to its receipt; what it took is kept beside it."""
    kept = folder / "figures.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    if not (folder / "site.json").exists():
        site_run.join_one(operator, name, folder, data=str(data), steps=steps)
    began, spent = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [script("genepool"), "site", "contribute", str(folder), "--json"], capture_output=True, text=True, check=True
    )
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = ended.ru_utime + ended.ru_stime - spent.ru_utime - spent.ru_stime
    taken = {"seconds": round(time.monotonic() - began), "processor_seconds": round(processor)}
    record = {"site": name, **taken, **json.loads(done.stdout)}
    kept.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def selectable(operator: PoolOperator, names: list[str]) -> dict[str, str]:
    """The contributions of the sites by name, once the pool has reviewed them; else the run ends."""
    for _ in range(REVIEW):
        found = {entry.site: entry for entry in operator.contributions()}
        waiting = [name for name in names if found[name].state != "ACTIVE"]
        if not waiting:
            return {name: found[name].contribution_id for name in names}
        time.sleep(1)
    told = ", ".join(f"{found[name].contribution_id} of {name} is {found[name].state}" for name in waiting)
    raise SystemExit(f"{told}; genepool-server show says why; admit what is held and repeat, or leave the site out")


def episode(images: ImageSet, shots: int, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Indices and labels of a support set of five classes, and of its test images; fewer shots are part of more."""
    rng = np.random.default_rng([draw, len(images.labels)])
    support, test = [], []
    for label in rng.permutation(len(images.classes))[:WAYS]:
        order = rng.permutation(np.flatnonzero(images.labels == label))
        support.append(order[:shots])
        test.append(order[max(SHOTS) :][:TEST])
    sizes = ([len(part) for part in support], [len(part) for part in test])
    labels = [np.repeat(np.arange(len(part)), part) for part in sizes]
    return np.concatenate(support), labels[0], np.concatenate(test), labels[1]


class TaskFeatures:
    """Features of all images of the tasks under every start, each computed once."""

    def __init__(self, pool: Pool, tasks: dict[str, ImageSet], work: Path) -> None:
        self.pool, self.tasks, self.work = pool, tasks, work
        self.work.mkdir(exist_ok=True)

    def of(self, task: str, size: Size, weights: tuple[tuple[str, int], ...] | None) -> np.ndarray:
        """Shape (images, width); the weights are a combination, none of them the seed, None a fresh net."""
        members = "fresh" if weights is None else "-".join(f"{name[:12]}x{milli}" for name, milli in weights) or "seed"
        path = self.work / f"{task}-{size.depth}x{size.heads}-{members}.npy"
        if not path.exists():
            np.save(path, self._compute(task, size, weights))
        return np.asarray(np.load(path))

    @torch.inference_mode()
    def _compute(self, task: str, size: Size, weights: tuple[tuple[str, int], ...] | None) -> np.ndarray:
        blueprint = self.pool.blueprint
        if weights is None:
            state = start_weights.scratch(blueprint, size, 0)
        else:
            state = self.pool.descend(weights=dict(weights), size=size).state_dict()
        found = []
        for start in range(0, len(self.tasks[task].labels), 64):
            batch = pixels.to_images(blueprint, self.tasks[task].pixels[start : start + 64])
            with precision.training("cpu"):
                found.append(net.features(blueprint, size, state, pixels.to_patches(blueprint, batch)).float())
        return torch.cat(found).numpy()


def accuracy(features: np.ndarray, drawn: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Of the closed-form head of the support set on the test images."""
    support, labels, test, wanted = drawn
    head = fit_head(features[support], labels)
    return float(((features[test] @ head.weight.T + head.bias).argmax(axis=1) == wanted).mean())


def measure(pool: Pool, tasks: dict[str, ImageSet], own: dict[str, str], args: argparse.Namespace) -> list[Row]:
    """Every start, size, task and draw."""
    found, features = [], TaskFeatures(pool, tasks, args.work / "features")
    for task, images in tasks.items():
        for shots in SHOTS:
            for draw in range(args.draws):
                drawn = episode(images, shots, draw)
                answer = pool.select((images.pixels[drawn[0]], drawn[1]))
                starts = {names.SCRATCH: None, names.SEED: (), names.TALS: answer.weights, OWN: ((own[task], 1000),)}
                for size in args.sizes:
                    for start, weights in starts.items():
                        right = accuracy(features.of(task, size, weights), drawn)
                        found.append(Row("published", task, answer.choice, draw, shots, start, str(size), 0, right))
                print(task, shots, draw, answer.choice, [round(row.accuracy, 3) for row in found[-4:]], flush=True)
    return found


def write(rows: list[Row], sites: list[dict[str, object]], args: argparse.Namespace) -> str:
    """table.json and table.md; returns the table."""
    starts = (names.SCRATCH, names.SEED, names.TALS, OWN)
    lines = [f"| size | domain | images a class | {' | '.join(starts)} | TALS against the seed |", "|---" * 8 + "|"]
    for size, task, shots in itertools.product(map(str, args.sizes), [*args.domains, ""], SHOTS):
        part = [row for row in where(rows, size=size, shots=shots) if task in {"", row.task}]
        columns = {name: where(part, column=name) for name in starts}
        cells = " | ".join(f"{mean(column):.3f}".lstrip("0") for column in columns.values())
        better = gain(columns[names.TALS], columns[names.SEED])
        lines.append(f"| {size} | {task or 'all'} | {shots} | {cells} | {better} |")
    text = "\n".join(lines) + "\n"
    (args.work / "table.md").write_text(text, encoding="utf-8")
    document = {"sites": sites, "rows": [asdict(row) for row in rows]}
    (args.work / "table.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return text


def check(pool: Pool, images: ImageSet, args: argparse.Namespace) -> None:
    """What a consumer would do by hand: both modes agree, the folder verifies, and stock timm loads it."""
    drawn = episode(images, max(SHOTS), 0)
    support = (images.pixels[drawn[0]], drawn[1])
    home, away = pool.select(support), pool.select(support, mode="remote")
    out = args.work / "descendant"
    if not out.exists():
        pool.descend(weights=home, size=args.sizes[0], out=out)
    model = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=WAYS)
    print(f"private and remote selection agree: {home.weights == away.weights}; {home}")
    print(f"stock timm loads {sum(tensor.numel() for tensor in model.parameters()):,} parameters of {out}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blueprint", type=Path)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--domains", nargs="+", default=["hangul", "icons", "shogi"])
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", type=Size.parse, default=[Size(12, 6)])
    args = parser.parse_args()
    args.work = args.work.absolute()
    args.work.mkdir(exist_ok=True, parents=True)
    torch.set_num_threads(1)
    if not (args.work / "data").exists():
        hold_out([args.benchmark / name for name in args.domains], args.work / "data")
    pool = PoolProcess(args.work / "pool", args.work, str(args.blueprint.absolute()))
    pool.start()
    try:
        sites = []
        with pool.operator() as operator:
            for name in args.domains:
                data = args.work / "data" / "kept" / name
                sites.append(contribute(operator, name, data, args.work / name, args.steps))
                print(sites[-1], flush=True)
            own = selectable(operator, args.domains)
        anchors = read_anchors(pool.folder / "pool.json")
        with Pool(pool.address, anchors=anchors, memory=args.work / "seen") as consumer:
            side = consumer.blueprint.image
            tasks = {name: load_images(args.work / "data" / "tasks" / f"{name}-unseen", side) for name in args.domains}
            print(write(measure(consumer, tasks, own, args), sites, args))
            check(consumer, tasks[args.domains[0]], args)
    finally:
        pool.stop()


if __name__ == "__main__":
    main()
