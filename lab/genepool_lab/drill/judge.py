"""Accuracy of what each system has at the end: on tasks that no site has seen, with the same head for all."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from genepool_client.pictures.images import load_images
from genepool_client.simulate import accuracy
from genepool_client.simulate.consumer_run import draw_episodes
from genepool_client.simulate.episodes import Episode
from genepool_client.simulate.partition import Scenario
from genepool_lab.benchmark import method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.drill.cast import BLUEPRINT
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import net

SHOTS: Final = 5
DRAWS: Final = 3
NAMED: Final = 80
"""Images of an episode that are to be named: enough for an interval over eighteen, and few enough for minutes."""
_RESAMPLED: Final = 2000


def episodes(scenario: Scenario, folder: Path, rng: int) -> list[Episode]:
    """Support sets of every task, and the images to be named."""
    image = Lab(BLUEPRINT, folder).blueprint.image
    tasks = {path.name: load_images(path, image) for path in scenario.tasks}
    return [_shorter(episode) for episode in draw_episodes(tasks, SHOTS, range(rng * DRAWS, (rng + 1) * DRAWS))]


def _shorter(episode: Episode) -> Episode:
    """With every n-th of the images that are to be named: they lie class by class."""
    step = max(1, len(episode.query) // NAMED)
    return replace(episode, query=episode.query[::step], query_labels=episode.query_labels[::step])


def of_descendants(folders: Sequence[Path], drawn: Sequence[Episode]) -> dict[str, Any]:
    """Of the descendant that was selected for each episode."""
    return {"each": [_measured(_descendant(folder), episode) for folder, episode in zip(folders, drawn, strict=True)]}


def of_net(path: str, folder: Path, drawn: Sequence[Episode]) -> dict[str, Any]:
    """Of one net for all episodes; of the seed's where there is none."""
    if path:
        with np.load(path) as archive:
            weights = net.as_tensors(dict(archive))
    else:
        weights = method.reference_weights(Lab(BLUEPRINT, folder))
    return {"each": [_measured(weights, episode) for episode in drawn]}


def against(measured: dict[str, Any], seed: dict[str, Any], rng: int = 0) -> None:
    """Add the mean, and the mean difference from the seed in points with its 95 % bootstrap interval over episodes."""
    ours, theirs = np.array(measured["each"]), np.array(seed["each"])
    pairs = 100 * (ours - theirs)
    means = np.random.default_rng(rng).choice(pairs, (_RESAMPLED, len(pairs))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    measured |= {"mean": float(ours.mean()), "gain": float(pairs.mean()), "low": float(low), "high": float(high)}


def _descendant(folder: Path) -> net.Weights:
    everything = TensorFile(folder / "model.safetensors").all()
    return net.as_tensors({name: array for name, array in everything.items() if not name.startswith("head.")})


def _measured(weights: net.Weights, episode: Episode) -> float:
    blueprint = Lab(BLUEPRINT, Path()).blueprint
    return accuracy.before_and_after(blueprint, blueprint.reference, weights, episode, 0).before
