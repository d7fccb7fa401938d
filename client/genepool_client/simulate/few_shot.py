"""One measurement: a starting point, a size, a few labelled images, and its accuracy before and after training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import timm
import torch
import torch.nn.functional as F

from genepool_client.consumer.descendant.head import fit_head
from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net, pixels
from genepool_protocol.training import precision

_WARM: Final = 0.19
"""Share of the steps before the highest learning rate; of a fifth, OneCycleLR divides by zero when there are four."""
Deltas = Mapping[str, algebra.Stored]
"""Flat learngenes by contribution id."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A few-shot task: a labelled support set, and test images that nobody trains on."""

    task: str
    draw: int
    support: pixels.Pixels
    support_labels: np.ndarray
    test: pixels.Pixels
    test_labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Outcome:
    """Accuracy on the test images: of a closed-form head on fixed features, and after a short fine-tuning."""

    before: float
    after: float | None


def draw_episode(task: str, images: np.ndarray, labels: np.ndarray, shots: int, draw: int) -> Episode:
    """A support set of `shots` images a class; the rest is for testing. The same draw gives the same images."""
    rng = np.random.default_rng([draw, *task.encode()])
    support: list[int] = []
    for label in np.unique(labels):
        support += rng.permutation(np.flatnonzero(labels == label))[:shots].tolist()
    rest = np.setdiff1d(np.arange(len(labels)), support)
    return Episode(task, draw, images[support], labels[support], images[rest], labels[rest])


def scratch(blueprint: Blueprint, size: Size, rng: int) -> net.Weights:
    """A random initialization by timm initialization of that size."""
    with torch.random.fork_rng():
        torch.manual_seed(rng)
        model = timm.create_model(descendant.TIMM_ARCHITECTURE, num_classes=0, **descendant.model_args(blueprint, size))
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def descended(
    blueprint: Blueprint, size: Size, seed: algebra.Flat, deltas: Deltas, mixture: tuple[tuple[str, int], ...]
) -> net.Weights:
    """The weights that the pool descends to, made at home from the same learngenes."""
    members = [(milli / 1000, deltas[name]) for name, milli in mixture]
    gene = algebra.views(expansion.gene_layout(blueprint, blueprint.seed.components), algebra.combine(seed, members))
    return net.as_tensors(expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), gene))


def random_pool(deltas: Deltas, rng: int) -> dict[str, algebra.Stored]:
    """Learngenes of random numbers with the norm of each real one: the control that a real gain must beat."""
    generator = np.random.default_rng(rng)
    out: dict[str, algebra.Stored] = {}
    for name, delta in sorted(deltas.items()):
        noise = generator.standard_normal(delta.size).astype(np.float32)
        out[name] = noise * np.float32(np.linalg.norm(delta.astype(np.float32)) / np.linalg.norm(noise))
    return out


def measure(
    blueprint: Blueprint, size: Size, weights: net.Weights, episode: Episode, steps: int, batch: int = 25
) -> Outcome:
    """Accuracy before, and after `steps` steps of training everything on the support set (None for no steps)."""
    before, *after = accuracies(blueprint, size, weights, episode, (0, steps) if steps else (0,), batch=batch)
    return Outcome(before, after[0] if after else None)


def accuracies(
    blueprint: Blueprint,
    size: Size,
    weights: net.Weights,
    episode: Episode,
    budgets: Sequence[int],
    *,
    batch: int = 25,
    lr: float = 3e-4,
) -> list[float]:
    """Accuracy after each number of training steps, every time from the start: a budget is a schedule of its own.

    Every starting point gets the same closed-form head, steps, batches and learning rates.
    """
    found = net.embed(blueprint, size, weights, episode.support)
    head = fit_head(found.numpy(), episode.support_labels)
    start = {
        **weights,
        "head.weight": torch.from_numpy(head.weight),
        "head.bias": torch.from_numpy(head.bias),
    }
    out = []
    for steps in budgets:
        params = {name: tensor.clone() for name, tensor in start.items()}
        if steps:
            _train(blueprint, size, params, episode, steps, batch, lr)
        out.append(_accuracy(blueprint, size, params, episode))
    return out


def _train(
    blueprint: Blueprint,
    size: Size,
    params: dict[str, torch.Tensor],
    episode: Episode,
    steps: int,
    batch: int,
    lr: float,
) -> None:
    rng = torch.Generator().manual_seed(episode.draw)
    images = pixels.to_images(blueprint, episode.support)
    labels = torch.from_numpy(episode.support_labels)
    for tensor in params.values():
        tensor.requires_grad_()
    optimizer = torch.optim.AdamW(params.values(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1, pct_start=_WARM)
    for _ in range(steps):
        chosen = torch.randperm(len(images), generator=rng)[:batch]
        patches = pixels.to_patches(blueprint, pixels.augment(images[chosen], rng))
        with precision.training("cpu"):
            found = net.features(blueprint, size, params, patches)
        answer = F.linear(found.float(), params["head.weight"], params["head.bias"])
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(answer, labels[chosen], label_smoothing=0.05).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        optimizer.step()
        schedule.step()
    for tensor in params.values():
        tensor.requires_grad_(False)


def _accuracy(blueprint: Blueprint, size: Size, params: net.Weights, episode: Episode) -> float:
    found = net.embed(blueprint, size, params, episode.test)
    answer = F.linear(found, params["head.weight"], params["head.bias"]).argmax(dim=1).numpy()
    return float((answer == episode.test_labels).mean())
