"""Episodes: a few labelled images of a task, and those that accuracy is measured on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genepool_protocol.selection.support import Pixels


@dataclass(frozen=True, slots=True)
class Episode:
    """One draw of a few-shot task.

    Attributes:
        task: its name.
        draw: which one.
        support: the labelled images, uint8 of shape (N, H, W, 3).
        support_labels: their classes, shape (N,).
        query: images that nobody trains on, shape (M, H, W, 3).
        query_labels: their classes, shape (M,).
    """

    task: str
    draw: int
    support: Pixels
    support_labels: np.ndarray
    query: Pixels
    query_labels: np.ndarray


def draw_episode(task: str, images: np.ndarray, labels: np.ndarray, shots: int, draw: int) -> Episode:
    """A support set of `shots` images a class; the rest are query images. The same draw gives the same images."""
    rng = np.random.default_rng([draw, *task.encode()])
    support: list[int] = []
    for label in np.unique(labels):
        support += rng.permutation(np.flatnonzero(labels == label))[:shots].tolist()
    rest = np.setdiff1d(np.arange(len(labels)), support)
    return Episode(task, draw, images[support], labels[support], images[rest], labels[rest])


def save_episode(episode: Episode, path: Path) -> Path:
    """Write an episode where every process can read it."""
    np.savez(
        path,
        support=episode.support,
        support_labels=episode.support_labels,
        query=episode.query,
        query_labels=episode.query_labels,
    )
    return path


def load_episode(path: Path, task: str, draw: int) -> Episode:
    """What `save_episode` wrote."""
    with np.load(path) as saved:
        return Episode(task, draw, saved["support"], saved["support_labels"], saved["query"], saved["query_labels"])
