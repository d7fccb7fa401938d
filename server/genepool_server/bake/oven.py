"""One baking: every step a full-width net and a smaller one predict a teacher's features and name the classes.

A published net is its own teacher: baking starts from it, so that its smaller sizes become more like it.

Matrices are moved by Muon (Jordan et al. 2024; timm's implementation), vectors, the stem and the heads, which are
thrown away, by AdamW: after 300 steps the squared feature error is down by 0.13 where AdamW alone has 0.065.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net, pixels
from genepool_protocol.training import precision
from genepool_protocol.training.muon import Muon
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import Refused
from genepool_server import durable
from genepool_server.bake import layers
from genepool_server.bake.corpus import Corpus

Progress = Callable[[int, int, str], None]

_HELD_OUT: Final = 25  # one image in so many of each class is never trained on
_LOOKED_AT: Final = 256  # held-out images that the scale of a guide's features is taken from
_LOG_EVERY: Final = 100  # steps; the checkpoint is written as often


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a seed is baked; the defaults take about an hour on one free core for `nano-32`.

    Attributes:
        steps: training steps.
        batch: images a step.
        lr: highest learning rate of matrices (Muon, in AdamW's units).
        plain_lr: highest learning rate of everything else (AdamW).
        weight_decay: of matrices.
        warmup: steps until the highest learning rates.
        smoothing: of class labels.
        class_weight: of classification, where a teacher's features are given.
        inverted: share of images whose brightness is turned round.
        patches: share of patches that a step looks at, until `whole`.
        whole: share of the steps after which every patch is looked at.
        muon: whether Muon moves the matrices; its step costs wide nets more than all the rest of a small batch.
        rng: where all randomness starts.
    """

    steps: int = 9000
    batch: int = 64
    lr: float = 5e-3
    plain_lr: float = 4e-3
    weight_decay: float = 0.05
    warmup: int = 200
    smoothing: float = 0.1
    class_weight: float = 0.4
    inverted: float = 0.25
    patches: float = 0.5
    whole: float = 0.7
    muon: bool = True
    rng: int = 0


GENTLE: Final = Recipe(
    steps=3200,
    batch=24,
    lr=3e-5,  # at 1e-4 a hundred steps undid DINOv2 at every depth
    plain_lr=3e-5,
    weight_decay=0.0,
    warmup=20,
    class_weight=0.0,
    patches=1.0,  # of fewer patches no net can tell what its guide saw
    muon=False,
)
"""From a published net: what it knows already must not be lost; a step of `vit-s14` takes about a second of a core."""


@dataclass(slots=True)
class Oven:
    """The net, its heads, the optimiser and how far it is; saved to and resumed from a checkpoint.

    Raises:
        Refused: DATA_CHANGED, the checkpoint belongs to another corpus, blueprint or recipe.
    """

    blueprint: Blueprint
    corpus: Corpus
    recipe: Recipe
    checkpoint: Path | None = None
    start: Mapping[str, torch.Tensor] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    rng: torch.Generator = field(init=False)
    net: layers.Net = field(init=False)
    head: torch.Tensor = field(init=False)
    optimizer: Muon = field(init=False)
    trained: np.ndarray = field(init=False)
    held: np.ndarray = field(init=False)
    guide: layers.Net | None = field(init=False, default=None)
    scale: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        corpus, recipe = self.corpus, self.recipe
        self.rng = torch.Generator().manual_seed(recipe.rng)
        position = np.arange(len(corpus.labels)) - np.searchsorted(corpus.labels, corpus.labels)
        self.held = np.flatnonzero(position % _HELD_OUT == _HELD_OUT - 1)
        self.trained = np.setdiff1d(np.arange(len(corpus.labels)), self.held)
        self.net, head = self._begin()
        self.head = head.requires_grad_()
        for tensor in self.net.values():
            tensor.requires_grad_()
        matrices = {name for name in self.net if name.startswith("blocks.") and self.net[name].dim() > 1}
        plain = [self.head, *(tensor for name, tensor in self.net.items() if name not in matrices)]
        groups = [
            {"params": [self.net[name] for name in sorted(matrices)], "lr": recipe.lr, "use_fallback": not recipe.muon},
            {"params": plain, "lr": recipe.plain_lr, "use_fallback": True, "weight_decay": 0.0},
        ]
        self.optimizer = Muon(groups, weight_decay=recipe.weight_decay)
        self._resume()

    def _begin(self) -> tuple[layers.Net, torch.Tensor]:
        """The net and its head before the first step; from a published net, it is set beside as the guide, too."""
        blueprint, corpus, width = self.blueprint, self.corpus, self.blueprint.width(self.blueprint.heads)
        if self.start is None:
            fresh = layers.fresh(blueprint, self.rng)
            outputs = len(corpus.names) + (0 if corpus.targets is None else corpus.targets.shape[2])
            return fresh, torch.randn(outputs, width, generator=self.rng) * 0.02
        the_plan = expansion.plan(blueprint, blueprint.reference, blueprint.seed.components)
        self.guide = expansion.expand(the_plan, self.start)
        seen = net.embed(blueprint, blueprint.reference, self.guide, corpus.images[self.held[:_LOOKED_AT]])
        self.scale = seen.std(dim=0).clamp_min(1e-3).clone()
        # the net predicts its guide's features by its own from the start: the head moves nothing
        named = torch.randn(len(corpus.names), width, generator=self.rng) * 0.02
        return {name: tensor.clone() for name, tensor in self.guide.items()}, torch.cat(
            [named, (1 / self.scale).diag()]
        )

    def bake(self, progress: Progress) -> layers.Net:
        """Take the remaining steps and return the seed gene."""
        # classes of different sizes count alike: drawn by the square root of the class's size
        labels = self.corpus.labels[self.trained]
        weight = torch.from_numpy(1.0 / np.sqrt(np.bincount(labels)[labels]))
        began, sums = time.monotonic() - self.seconds, np.zeros(4)
        while self.step < self.recipe.steps:
            chosen = self.trained[torch.multinomial(weight, self.recipe.batch, generator=self.rng).numpy()]
            loss, figures = self._loss(chosen)
            self._update(loss)
            sums += figures
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.step % _LOG_EVERY == 0 or self.step == self.recipe.steps:
                mean = np.round(sums / (self.step % _LOG_EVERY or _LOG_EVERY), 4).tolist()
                names = ("features", "features_small", "accuracy", "accuracy_small")
                figure = dict(zip(names, mean, strict=True))
                self.log.append({"step": self.step, "seconds": round(self.seconds), **figure})
                sums[:] = 0
                self._save()
            progress(self.step, self.recipe.steps, f"loss {loss.item():.3f} accuracy {figures[2]:.2f}")
        return layers.gene(self.blueprint, self.net)

    def _update(self, loss: torch.Tensor) -> None:
        recipe = self.recipe
        rest = (self.step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        warm = (self.step + 1) / max(1, recipe.warmup)
        scale = warm if warm < 1 else 0.5 * (1 + math.cos(math.pi * max(0.0, rest)))
        for group, lr in zip(self.optimizer.param_groups, (recipe.lr, recipe.plain_lr), strict=True):
            group["lr"] = lr * scale
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*self.net.values(), self.head], 1.0)
        self.optimizer.step()

    def _loss(self, chosen: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        blueprint, corpus, recipe, rng = self.blueprint, self.corpus, self.recipe, self.rng
        turned = torch.rand(len(chosen), generator=rng) < recipe.inverted
        images = corpus.images[chosen]
        images = np.where(turned.numpy()[:, None, None, None], 255 - images, images)
        batch = pixels.augment(pixels.to_images(blueprint, images), rng)
        patches, labels = pixels.to_patches(blueprint, batch), torch.from_numpy(corpus.labels[chosen])
        share = recipe.patches if self.step < recipe.whole * recipe.steps else 1.0
        kept = net.draw_patches(len(chosen), blueprint.tokens, share, rng)
        wanted = self._wanted(turned.long().numpy(), chosen, patches)
        total, figures = torch.zeros(()), np.zeros(4)
        for index, size in enumerate(_sandwich(blueprint, rng)):
            weights = layers.at_size(blueprint, size, self.net)
            with precision.training("cpu"):
                found = net.features(blueprint, size, weights, patches, kept).float()
            named, seen, right = self._answers(found, labels, wanted)
            total = total + (named if seen is None else seen + recipe.class_weight * named)
            figures[index], figures[2 + index] = 0.0 if seen is None else seen.item(), right
        return total, figures

    @torch.no_grad()
    def _wanted(self, turned: np.ndarray, chosen: np.ndarray, patches: torch.Tensor) -> torch.Tensor | None:
        """What the features of a batch should tell, shape (N, K): a teacher's of the pictures, or the guide's."""
        if self.guide is not None:
            with precision.training("cpu"):
                return net.features(self.blueprint, self.blueprint.reference, self.guide, patches).float() / self.scale
        return None if self.corpus.targets is None else torch.from_numpy(self.corpus.targets[turned, chosen])

    def _answers(
        self, found: torch.Tensor, labels: torch.Tensor, wanted: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        answer, classes = F.linear(found, self.head[:, : found.shape[1]]), len(self.corpus.names)
        named = F.cross_entropy(answer[:, :classes], labels, label_smoothing=self.recipe.smoothing)
        right = float((answer[:, :classes].argmax(-1) == labels).float().mean())
        return named, None if wanted is None else F.mse_loss(answer[:, classes:], wanted), right

    @torch.inference_mode()
    def held_out(self, size: Size) -> dict[str, Any]:
        """Accuracy and squared feature error of one size on images that were never trained on."""
        the_plan = expansion.plan(self.blueprint, size, self.blueprint.seed.components)
        weights = expansion.expand(the_plan, layers.gene(self.blueprint, self.net))
        blueprint, seen = self.blueprint, self.corpus.images[self.held]
        found = net.embed(blueprint, size, weights, seen)
        if self.guide is not None:
            wanted: torch.Tensor | None = net.embed(blueprint, blueprint.reference, self.guide, seen) / self.scale
        else:
            wanted = None if self.corpus.targets is None else torch.from_numpy(self.corpus.targets[0, self.held])
        _, off, right = self._answers(found, torch.from_numpy(self.corpus.labels[self.held]), wanted)
        named = self.recipe.class_weight > 0 or off is None
        error = None if off is None else round(off.item(), 4)
        return {"size": str(size), "accuracy": round(right, 4) if named else None, "features": error}

    def _fingerprint(self) -> str:
        content = digest.sha256_hex(self.corpus.images.tobytes() + self.corpus.labels.tobytes())
        family = self.blueprint.model_dump(exclude={"name", "seed", "key", "score", "components"})
        start = None if self.start is None else [float(self.start[name].double().sum()) for name in sorted(self.start)]
        return f"{content} {family} {self.recipe} {self.corpus.targets is not None} {start}"

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "fingerprint": self._fingerprint(),
            "net": {name: tensor.detach() for name, tensor in self.net.items()},
            "head": self.head.detach(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "log": self.log,
        }
        with durable.writing(self.checkpoint) as file:
            torch.save(state, file)

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["fingerprint"] != self._fingerprint():
            raise Refused(
                "DATA_CHANGED",
                f"{self.checkpoint} was made with another corpus, blueprint or recipe",
                "repeat with what it was started with, or remove the file to start again",
            )
        with torch.no_grad():
            for name, tensor in state["net"].items():
                self.net[name].copy_(tensor)
            self.head.copy_(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]


def _sandwich(blueprint: Blueprint, rng: torch.Generator) -> tuple[Size, Size]:
    """Full width at the reference depth or another one, and a smaller net."""
    low, high = blueprint.depths

    def draw(first: int, last: int) -> int:
        return int(torch.randint(first, last + 1, (1,), generator=rng))

    narrow = blueprint.narrowest
    full = Size(blueprint.depth if draw(0, 2) else draw(min(low + 2, high), high), blueprint.heads)
    return full, Size(draw(low, blueprint.depth), draw(narrow, max(narrow, blueprint.heads - 1)))
