"""The loop that both trainings of a site share: warm-up and cosine, decay towards a start, a checkpoint to resume."""

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from genepool_client.transport.durable import replacing
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import net
from genepool_protocol.selection import pixels as px
from genepool_protocol.training.muon import Muon
from genepool_protocol.wire.errors import Refused

Params = dict[str, torch.Tensor]
Progress = Callable[[int, int, str], None]

_FORMAT: Final = "checkpoint/v2"
_SAVE_EVERY: Final = 50
"""Steps between checkpoints: some five seconds on one core for `nano-32`."""

_TENTHS: Final = 10
"""Parts of a training after which held-out images are looked at, once every patch is."""
_PATIENCE: Final = 2
"""Checks with more errors than the fewest, after which training ends."""
_ENOUGH: Final = 20
"""Held-out images from which their errors decide anything."""

_REFERENCE_IMAGES: Final = 700
_GROWTH: Final = 0.35
_BOUNDS: Final = (0.3, 6.0)

_MANY: Final = 20
_LEAST: Final = 0.5

_NARROW: Final = 256
_GENTLE: Final = 0.05


def scaled_steps(steps: int, images: int, classes: int) -> int:
    """Training steps for so many images and classes, when `steps` are right for 700 of twenty classes.

    They grow more slowly than the images, between 0.3 and 6 times `steps`: a site with 100 images sees each of them
    more often, one with 50,000 ends in minutes. Fewer classes get fewer, from half of the steps on: trained for longer,
    features keep little but what tells these classes apart, and that harms the others that a learngene is for.
    """
    low, high = _BOUNDS
    growth = float((images / _REFERENCE_IMAGES) ** _GROWTH)
    breadth = min(1.0, max(_LEAST, classes / _MANY))
    return max(1, round(steps * breadth * min(high, max(low, growth))))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how hard to train.

    Attributes:
        steps: training steps.
        batch: images a step.
        lr: highest learning rate of matrices (Muon, in AdamW's units).
        plain_lr: highest learning rate of vectors and the stem (AdamW).
        head_lr: highest learning rate of the head (AdamW).
        decay: pull towards the start, per step and unit of learning rate.
        warmup: steps until the highest learning rates.
        patches: share of an image's patches that a step looks at, until `whole`.
        whole: share of the steps after which every patch is looked at.
        rng: where all randomness starts.
        device: a torch device.
        muon: whether Muon moves the matrices, or AdamW.
    """

    steps: int
    batch: int = 32
    lr: float = 2e-3
    plain_lr: float = 1e-3
    head_lr: float = 5e-3
    decay: float = 0.05
    warmup: int = 10
    patches: float = 0.5
    whole: float = 0.6
    rng: int = 0
    device: str = "cpu"
    muon: bool = True


def suited(blueprint: Blueprint, recipe: Recipe) -> Recipe:
    """The recipe as it suits the width of the net; recipes are written for narrow ones.

    At 384, Muon's own arithmetic costs more than the rest of a step, and a strong seed wants gentler rates and has
    less to learn.
    """
    if blueprint.width(blueprint.heads) <= _NARROW:
        return recipe
    gentle = replace(recipe, muon=False, lr=_GENTLE * recipe.lr, plain_lr=_GENTLE * recipe.plain_lr)
    return replace(gentle, steps=recipe.steps // 2)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's images.

    Attributes:
        patches: shape (N, tokens, 3 * patch * patch).
        kept: the patches to look at, shape (N, K), or None for all.
        labels: shape (N,).
    """

    patches: torch.Tensor
    kept: torch.Tensor | None
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class Data:
    """Training images as normalised tensors, and where their batches come from."""

    blueprint: Blueprint
    images: torch.Tensor  # (N, 3, H, W)
    labels: torch.Tensor  # (N,)
    weight: torch.Tensor  # (N,): how often each is drawn; classes count by the square root of their size

    @classmethod
    def of(cls, blueprint: Blueprint, pixels: px.Pixels, labels: np.ndarray, device: str) -> "Data":
        """The data of uint8 images of shape (N, H, W, 3)."""
        named = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        weight = torch.bincount(named).to(torch.float32).rsqrt()[named]
        return cls(blueprint, px.to_images(blueprint, pixels).to(device), named.to(device), weight)

    def whole(self, most: int) -> Batch | None:
        """The first `most` images as they are, or None when there are too few to tell anything."""
        if len(self.labels) < _ENOUGH:
            return None
        return Batch(px.to_patches(self.blueprint, self.images[:most]), None, self.labels[:most])

    def batch(self, recipe: Recipe, step: int, rng: torch.Generator) -> Batch:
        """The augmented batch of a step."""
        repeated = recipe.batch > len(self.weight)
        chosen = torch.multinomial(self.weight, recipe.batch, replacement=repeated, generator=rng)
        chosen = chosen.to(self.labels.device)
        images = px.augment(self.images[chosen], rng)
        share = recipe.patches if step < recipe.whole * recipe.steps else 1.0
        kept = net.draw_patches(recipe.batch, self.blueprint.tokens, share, rng)
        return Batch(
            px.to_patches(self.blueprint, images),
            None if kept is None else kept.to(self.labels.device),
            self.labels[chosen],
        )


@dataclass(slots=True)
class Best:
    """The fewest errors on held-out images so far; of equals, the latest, which was trained at the lowest rates.

    Attributes:
        errors: their share; infinite before the first check.
        params: those that made them.
        waited: checks since then.
    """

    errors: float = math.inf
    params: Params = field(default_factory=dict, repr=False)
    waited: int = 0

    @property
    def over(self) -> bool:
        """Whether training should end."""
        return self.waited >= _PATIENCE

    def look(self, errors: float, params: Params) -> None:
        """Take in a check."""
        if errors <= self.errors:
            self.errors, self.waited = errors, 0
            self.params = {name: tensor.detach().clone() for name, tensor in params.items()}
        else:
            self.waited += 1


class Trainer:
    """Trains named tensors with Muon and, where there is no matrix, AdamW, pulling each towards where it started.

    It stops early: what it ends with made the fewest errors on held-out images, when there are enough of them.

    Args:
        params: leaf tensors that require gradients.
        start: what each is pulled towards; names that are missing (heads) are free and use `recipe.head_lr`.
        recipe: how long and how hard.
        checkpoint: the file to resume from and to save to.
        fingerprint: what the checkpoint belongs to (data, blueprint, recipe); another one is refused.

    Raises:
        Refused: DATA_CHANGED, the checkpoint belongs to something else or cannot be read.
    """

    def __init__(self, params: Params, start: Params, recipe: Recipe, checkpoint: Path, fingerprint: str) -> None:
        self.params, self.start, self.recipe = params, start, recipe
        self.checkpoint, self.fingerprint = checkpoint, f"{_FORMAT} {fingerprint}"
        self.rng = torch.Generator().manual_seed(recipe.rng)
        self.optimizer = Muon(_groups(params, start, recipe))
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.best = Best()
        self.done = self._resume()

    def run(
        self,
        loss_of: Callable[[torch.Generator], torch.Tensor],
        progress: Progress,
        label: str,
        held_out: Callable[[], float] | None = None,
    ) -> None:
        """Take the remaining steps; killed at any moment, the next run continues from the last checkpoint.

        Args:
            loss_of: a step's loss.
            progress: called after every step.
            label: of the loss.
            held_out: the share of errors on held-out images now; None: every step is taken and the last one counts.
        """
        average = float("nan")
        steps, first = self.recipe.steps, self.recipe.steps * self.recipe.whole
        checks = {at for at in (round(steps * part / _TENTHS) for part in range(1, _TENTHS + 1)) if at >= first}
        for step in range(self.done, self.recipe.steps):
            if self.best.over:
                break
            scale = self._scale(step)
            for group, lr in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = lr * scale
            loss = loss_of(self.rng)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(self.params.values()), 1.0)
            self.optimizer.step()
            self._pull(self.recipe.lr * scale * self.recipe.decay)
            average = loss.item() if math.isnan(average) else 0.9 * average + 0.1 * loss.item()
            self.done = step + 1
            if held_out is not None and self.done in checks:
                self.best.look(held_out(), self.params)
            if self.done % _SAVE_EVERY == 0 or self.done == self.recipe.steps or self.best.over:
                self._save()
            progress(self.done, self.recipe.steps, f"{label} {average:.3f}")
        _set(self.params, self.best.params)

    @torch.no_grad()
    def _pull(self, strength: float) -> None:
        for name, origin in self.start.items():
            self.params[name].lerp_(origin, strength)

    def _scale(self, step: int) -> float:
        if step < self.recipe.warmup:
            return (step + 1) / self.recipe.warmup
        rest = (step - self.recipe.warmup) / max(1, self.recipe.steps - self.recipe.warmup)
        return 0.5 * (1 + math.cos(math.pi * rest))

    def _save(self) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "params": {name: tensor.detach() for name, tensor in self.params.items()},
            "best": asdict(self.best),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
        }
        with replacing(self.checkpoint) as file:
            torch.save(state, file)

    def _resume(self) -> int:
        if not self.checkpoint.exists():
            return 0
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.recipe.device)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            state = {}
        if state.get("fingerprint") != self.fingerprint:
            raise Refused(
                "DATA_CHANGED",
                f"{self.checkpoint} cannot be read, or belongs to other images, another blueprint, recipe or version",
                "repeat with what it was started with, or remove the file to start again",
            )
        _set(self.params, state["params"])
        self.best = Best(**state["best"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"].cpu())
        return int(state["done"])


@torch.no_grad()
def _set(params: Params, values: Params) -> None:
    for name, value in values.items():
        params[name].copy_(value)


def _groups(params: Params, start: Params, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices inside blocks are Muon's; the stem, vectors and heads AdamW's."""
    inside = [name for name, tensor in params.items() if name.startswith(("blocks.", "a")) and tensor.dim() > 1]
    plain = [name for name in params if name in start and name not in inside]
    heads = [name for name in params if name not in start]
    return [
        {"params": [params[name] for name in names], "lr": lr, "use_fallback": names is not inside or not recipe.muon}
        for names, lr in ((inside, recipe.lr), (plain, recipe.plain_lr), (heads, recipe.head_lr))
    ]


def leaves(tensors: Mapping[str, torch.Tensor], device: str) -> Params:
    """Trainable copies."""
    return {name: tensor.detach().clone().to(device).requires_grad_() for name, tensor in tensors.items()}
