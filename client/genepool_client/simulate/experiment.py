"""All measurements of a report, spread over processes: starting points x sizes x tasks x draws."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from genepool_client.simulate import accuracy, start_weights
from genepool_client.simulate.episodes import load_episode
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.machine import lifeline
from genepool_protocol.selection import net
from genepool_protocol.selection.combination import Mixture, mixture

SCRATCH: Final = "scratch"
SEED: Final = "seed"
DESCENDANT: Final = "descendant"
AVERAGE: Final = "uniform average"
RANDOM_MEMBER: Final = "random member"
RANDOM_NUMBERS: Final = "random numbers"
STARTS: Final = (SCRATCH, SEED, DESCENDANT)
"""Measured before and after fine-tuning at every size."""
CONTROLS: Final = (AVERAGE, RANDOM_MEMBER, RANDOM_NUMBERS)
"""Measured before fine-tuning: what explains a gain away if it does as well."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement; `folder` holds the pool's descendant, where that is the starting point."""

    start: str
    size: Size
    task: str
    draw: int
    steps: int
    weights: Mixture = ()
    folder: str = ""


@dataclass(frozen=True, slots=True)
class StartAccuracy:
    """One line of the results: what a start is worth on one episode, before and after fine-tuning."""

    task: str
    draw: int
    size: Size
    start: str
    before: float
    after: float | None


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measuring process reads once: files, not objects."""

    blueprint_folder: Path
    learngenes: dict[str, Path]  # by contribution id
    episodes: dict[tuple[str, int], Path]  # .npz by task and draw


_state: dict[str, object] = {}


def _load(bench: Bench) -> None:
    lifeline.end_with_launcher()
    torch.set_num_threads(1)
    blueprint = parse_blueprint((bench.blueprint_folder / "blueprint.json").read_bytes())
    layout = expansion.gene_layout(blueprint, blueprint.components)
    whole = expansion.gene_layout(blueprint, blueprint.seed.components)
    _state["blueprint"] = blueprint
    _state["seed"] = TensorFile(bench.blueprint_folder / "seed.safetensors").flat(whole).astype(np.float32)
    _state["deltas"] = {name: TensorFile(path).flat(layout) for name, path in bench.learngenes.items()}
    _state["episodes"] = bench.episodes


def _measure(job: Job) -> StartAccuracy:
    blueprint, seed, deltas, episodes = (_state[name] for name in ("blueprint", "seed", "deltas", "episodes"))
    assert isinstance(blueprint, Blueprint)  # noqa: S101 - set by _load
    assert isinstance(seed, np.ndarray)  # noqa: S101
    assert isinstance(deltas, dict)  # noqa: S101
    assert isinstance(episodes, dict)  # noqa: S101
    episode = load_episode(episodes[job.task, job.draw], job.task, job.draw)
    weights = starting_point(blueprint, seed, deltas, job)
    measured = accuracy.before_and_after(blueprint, job.size, weights, episode, job.steps)
    return StartAccuracy(job.task, job.draw, job.size, job.start, measured.before, measured.after)


def starting_point(blueprint: Blueprint, seed: algebra.Flat, deltas: start_weights.Deltas, job: Job) -> net.Weights:
    """The weights that a job starts from."""
    if job.start == SCRATCH:
        return start_weights.scratch(blueprint, job.size, job.draw)
    if job.start == DESCENDANT:
        everything = TensorFile(Path(job.folder) / "model.safetensors").all()
        return net.as_tensors({name: array for name, array in everything.items() if not name.startswith("head.")})
    if job.start == RANDOM_NUMBERS:
        # of these alone: random numbers for a hundred learngenes are half a gigabyte
        deltas = start_weights.random_pool({name: deltas[name] for name, _ in job.weights}, job.draw)
    return start_weights.descended(blueprint, job.size, seed, deltas, job.weights)


def control_jobs(task: str, draw: int, sizes: Sequence[Size], ids: Sequence[str], chosen: Mixture) -> Iterator[Job]:
    """The controls of an episode; random numbers take the place of what TALS chose, or of one member."""
    rng = np.random.default_rng([draw, *task.encode()])
    everyone = mixture(dict.fromkeys(sorted(ids), round(1000 / len(ids))))
    alone = ((sorted(ids)[int(rng.integers(len(ids)))], 1000),)
    for size in sizes:
        for start, weights in ((AVERAGE, everyone), (RANDOM_MEMBER, alone), (RANDOM_NUMBERS, chosen or alone)):
            yield Job(start, size, task, draw, 0, weights)


def run(
    jobs: Sequence[Job], bench: Bench, processes: int, progress: Callable[[int, int, str], None]
) -> list[StartAccuracy]:
    """Every job's row, in the order of the jobs.

    Costly jobs go first, so that the processes end together.
    """
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i].steps * jobs[i].size.depth * jobs[i].size.heads)
    rows: dict[int, StartAccuracy] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_load, initargs=(bench,)) as pool:
        try:
            waiting = {pool.submit(_measure, jobs[i]): i for i in order}
            for future in as_completed(waiting):
                row = rows[waiting[future]] = future.result()
                progress(len(rows), len(jobs), f"{row.task} {row.size} {row.start}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # a measurement takes many seconds: do not wait for it
                process.terminate()
            raise
    return [rows[i] for i in range(len(jobs))]
