"""The one training loop: warm-up and cosine, Muon and AdamW, a checkpoint to resume from, and an early end.

Ancestry models, condensing and baking run it with their own tensors and losses.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch

from genepool_protocol.progress import Progress
from genepool_protocol.training.best import Best
from genepool_protocol.training.checkpoint import TrainingCheckpoint
from genepool_protocol.training.muon import Muon

Params = dict[str, torch.Tensor]
LossOf = Callable[[int, torch.Generator], torch.Tensor]
"""The loss of a step (0 is the first); all its randomness comes from the generator."""
NoteOf = Callable[[int, float], str]
"""The note of (steps taken, loss of the last one)."""

_LARGEST_GRADIENT: Final = 1.0
"""Norm of all gradients together, beyond which they are scaled down."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps, and what happens at which.

    Attributes:
        steps: all of them.
        warmup: steps until the highest learning rates; then they fall to nothing as half a cosine does.
        save_every: steps between checkpoints; the last step is kept, too.
        checks: steps after which held-out images are looked at.
    """

    steps: int
    warmup: int
    save_every: int
    checks: frozenset[int] = frozenset()

    def scale(self, step: int) -> float:
        """The share of the highest learning rates that a step takes (0 is the first)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        rest = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * rest))


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that move alike.

    Attributes:
        names: of the tensors, in the order in which a checkpoint keeps what their optimiser remembers.
        lr: highest learning rate.
        muon: whether Muon moves them (matrices only), or AdamW.
        weight_decay: decoupled, per unit of learning rate.
    """

    names: tuple[str, ...]
    lr: float
    muon: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class Anchor:
    """What tensors are pulled towards after every step.

    Attributes:
        origin: by name; tensors that are missing here are free.
        lr: highest learning rate that the pull goes with.
        decay: strength of the pull, per step and unit of learning rate.
    """

    origin: Params = field(repr=False)
    lr: float
    decay: float

    @torch.no_grad()
    def pull(self, params: Params, scale: float) -> None:
        """Move towards the origin, at that share of the highest learning rate."""
        for name, tensor in self.origin.items():
            params[name].lerp_(tensor, self.lr * scale * self.decay)


class Loop:
    """A training and how far it is; made anew with the same arguments, it goes on from its checkpoint.

    Attributes:
        params: the tensors, by name.
        step: steps taken.
        best: what held-out images said, where there are checks.
        notes: what the caller wants kept with the checkpoint: numbers, texts, lists and mappings.

    Args:
        params: leaf tensors that require gradients.
        groups: how each moves; every tensor is in one group.
        schedule: how many steps, and what happens at which.
        rng: where the randomness of all steps comes from.
        checkpoint: where to resume from and to save to; None: nothing is kept.
        anchor: what tensors are pulled towards.

    Raises:
        Refused: DATA_CHANGED, the checkpoint belongs to something else or cannot be read.
    """

    def __init__(
        self,
        params: Params,
        groups: Sequence[Group],
        schedule: Schedule,
        rng: torch.Generator,
        *,
        checkpoint: TrainingCheckpoint | None = None,
        anchor: Anchor | None = None,
    ) -> None:
        self.params, self.step, self.best = params, 0, Best()
        self.notes: dict[str, Any] = {}
        self._groups, self._schedule, self._rng = groups, schedule, rng
        self._checkpoint, self._anchor = checkpoint, anchor
        self._optimizer = Muon([_moved(group, params) for group in groups])
        self._resume()

    def run(
        self, loss_of: LossOf, progress: Progress, note_of: NoteOf, held_out: Callable[[], float] | None = None
    ) -> None:
        """Take the remaining steps; killed at any moment, the next run continues from the last checkpoint.

        Args:
            loss_of: the loss of a step.
            progress: called after every step.
            note_of: called after every step, before the checkpoint is saved.
            held_out: the share of errors on held-out images now, asked at the schedule's checks; what made the fewest
                is what training ends with. None: every step is taken and the last one counts.
        """
        steps = self._schedule.steps
        while self.step < steps and not self.best.over:
            loss = loss_of(self.step, self._rng)
            self._move(loss, self._schedule.scale(self.step))
            self.step += 1
            note = note_of(self.step, loss.item())
            if held_out is not None and self.step in self._schedule.checks:
                self.best.look(held_out(), self.params)
            if self.step % self._schedule.save_every == 0 or self.step == steps or self.best.over:
                self._save()
            progress(self.step, steps, note)
        put(self.params, self.best.params)

    def _move(self, loss: torch.Tensor, scale: float) -> None:
        for moved, group in zip(self._optimizer.param_groups, self._groups, strict=True):
            moved["lr"] = group.lr * scale
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self.params.values()), _LARGEST_GRADIENT)
        self._optimizer.step()
        if self._anchor is not None:
            self._anchor.pull(self.params, scale)

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        state = {
            "step": self.step,
            "params": {name: tensor.detach() for name, tensor in self.params.items()},
            "best": asdict(self.best),
            "optimizer": self._optimizer.state_dict(),
            "rng": self._rng.get_state(),
            "notes": self.notes,
        }
        self._checkpoint.save(state)

    def _resume(self) -> None:
        state = None if self._checkpoint is None else self._checkpoint.load(next(iter(self.params.values())).device)
        if state is None:
            return
        put(self.params, state["params"])
        self.best = Best(**state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rng.set_state(state["rng"].cpu())
        self.step, self.notes = int(state["step"]), state["notes"]


def _moved(group: Group, params: Params) -> dict[str, Any]:
    """The group as the optimiser wants it."""
    return {
        "params": [params[name] for name in group.names],
        "lr": group.lr,
        "use_fallback": not group.muon,
        "weight_decay": group.weight_decay,
    }


@torch.no_grad()
def put(params: Params, values: Params) -> None:
    """Write values into tensors of the same names, in place."""
    for name, value in values.items():
        params[name].copy_(value)
