"""A site's training: the loop that baking runs, too, with each tensor pulled towards where it started."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch

from genepool_client.training.recipe import TrainRecipe
from genepool_protocol.progress import Progress
from genepool_protocol.training.checkpoint import TrainingCheckpoint
from genepool_protocol.training.loop import Anchor, Group, Loop, LossOf, Params, Schedule

_SAVE_EVERY: Final = 50
"""Steps between checkpoints: some five seconds on one core for `nano-32`."""
_TENTHS: Final = 10
"""Parts of a training after which held-out images are looked at, once every patch is."""


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

    def __init__(self, params: Params, start: Params, recipe: TrainRecipe, checkpoint: Path, fingerprint: str) -> None:
        self.params = params
        self._average = float("nan")
        self._loop = Loop(
            params,
            _groups(params, start, recipe),
            Schedule(recipe.steps, recipe.warmup, _SAVE_EVERY, _checks(recipe)),
            torch.Generator().manual_seed(recipe.rng),
            checkpoint=TrainingCheckpoint(checkpoint, fingerprint),
            anchor=Anchor(start, recipe.lr, recipe.decay),
        )

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._loop.step

    def run(self, loss_of: LossOf, progress: Progress, held_out: Callable[[], float] | None = None) -> None:
        """Take the remaining steps; killed at any moment, the next run continues from the last checkpoint.

        Args:
            loss_of: the loss of a step.
            progress: called after every step.
            held_out: the share of errors on held-out images now; None: every step is taken and the last one counts.
        """
        self._average = float("nan")
        self._loop.run(loss_of, progress, self._note, held_out)

    def _note(self, _step: int, loss: float) -> str:
        self._average = loss if math.isnan(self._average) else 0.9 * self._average + 0.1 * loss
        return f"loss {self._average:.3f}"


def _checks(recipe: TrainRecipe) -> frozenset[int]:
    """Steps after which held-out images are looked at: every tenth of all, once every patch is seen."""
    tenths = (round(recipe.steps * part / _TENTHS) for part in range(1, _TENTHS + 1))
    return frozenset(step for step in tenths if step >= recipe.steps * recipe.whole)


def _groups(params: Params, start: Params, recipe: TrainRecipe) -> list[Group]:
    """Matrices inside blocks are Muon's; the stem, vectors and heads AdamW's."""
    inside = [name for name, tensor in params.items() if name.startswith(("blocks.", "a")) and tensor.dim() > 1]
    plain = [name for name in params if name in start and name not in inside]
    heads = [name for name in params if name not in start]
    return [
        Group(tuple(inside), recipe.lr, muon=recipe.muon),
        Group(tuple(plain), recipe.plain_lr),
        Group(tuple(heads), recipe.head_lr),
    ]


def leaves(tensors: Mapping[str, torch.Tensor], device: str) -> Params:
    """Trainable copies."""
    return {name: tensor.detach().clone().to(device).requires_grad_() for name, tensor in tensors.items()}
