"""Condensing: from an ancestry model to a learngene, a delta from the seed with few components.

It starts from the least-squares projection of the ancestry model's difference from the seed, and is then trained
through the expansion plan itself: every step a full-width net of some depth and a smaller one imitate the ancestry
model on the site's images, so that every size that can descend has been looked at.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F

from genepool_client.pictures.images import ImageSet
from genepool_client.training.ancestry import LOOKED_AT, fingerprint, hold_out, logits
from genepool_client.training.batches import Batch, TrainingImages
from genepool_client.training.recipe import TrainRecipe, scaled_steps
from genepool_client.training.trainer import Trainer, leaves
from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.progress import Progress
from genepool_protocol.selection import net, pixels
from genepool_protocol.training import precision
from genepool_protocol.training.loop import Params

CHECKPOINT: Final = "condense.pt"
_STEPS: Final = 280  # for 700 images of 20 classes
_LABEL_WEIGHT: Final = 0.5
"""Weight of the labels beside the imitation of the ancestry model; set, not measured."""


@dataclass(frozen=True, slots=True)
class CondenseResult:
    """What leaves the site, together with a domain embedding (`privacy`).

    Attributes:
        delta: the learngene, float32 by name, `components` components.
        steps: training steps taken.
        agreement: share of held-out images on which the expanded learngene and the ancestry model give one answer.
    """

    delta: dict[str, np.ndarray] = field(repr=False)
    steps: int
    agreement: float


def default_recipe(images: int = 700, classes: int = 20) -> TrainRecipe:
    """The recipe for so many images and classes: by default one minute on a core with bfloat16."""
    return TrainRecipe(steps=scaled_steps(_STEPS, images, classes), lr=1e-3, head_lr=1e-3)


def project_delta(blueprint: Blueprint, seed: net.Weights, ancestry: net.Weights) -> Params:
    """The least-squares learngene of an ancestry model: what training starts from."""
    origin = expansion.expand(expansion.plan(blueprint, blueprint.reference, blueprint.seed.components), seed)
    difference = {name: ancestry[name] - origin[name] for name in origin}
    return expansion.project(blueprint, difference, blueprint.components)


def draw_sizes(blueprint: Blueprint, rng: torch.Generator) -> tuple[Size, Size]:
    """The sandwich of one step: full width at the reference depth or another one, and a smaller net."""

    def draw(first: int, last: int) -> int:
        return int(torch.randint(first, last + 1, (1,), generator=rng))

    (low, high), narrow = blueprint.depths, blueprint.narrowest
    full = Size(blueprint.depth if draw(0, 1) else draw(low, high), blueprint.heads)
    return full, Size(draw(low, blueprint.depth), draw(narrow, max(narrow, blueprint.heads - 1)))


def condense(
    blueprint: Blueprint,
    seed: dict[str, np.ndarray],
    images: ImageSet,
    ancestry_weights: net.Weights,
    work: Path,
    *,
    recipe: TrainRecipe,
    progress: Progress,
) -> CondenseResult:
    """Condense an ancestry model; continues from `work/condense.pt` when it exists.

    Args:
        blueprint: the family.
        seed: the seed gene, float32 by name.
        images: the images that the ancestry model was trained on.
        ancestry_weights: `AncestryResult.weights`.
        work: an existing folder for the checkpoint.
        recipe: how long and how hard.
        progress: called after every step.

    Raises:
        Refused: DATA_CHANGED, the checkpoint belongs to other images, another blueprint or recipe.
    """
    device = recipe.device
    gene = {name: tensor.to(device) for name, tensor in net.as_tensors(seed).items()}
    teacher = {name: tensor.to(device) for name, tensor in ancestry_weights.items()}
    start = project_delta(blueprint, gene, teacher)
    head = {name: teacher[name] for name in ("head.weight", "head.bias")}
    params = leaves({**start, **head}, device)
    anchor = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    trained, held = hold_out(images)
    pictures = TrainingImages.of(blueprint, images.pixels[trained], images.labels[trained], device)
    descendants = Descendants(blueprint, gene)
    trainer = Trainer(params, anchor, recipe, work / CHECKPOINT, fingerprint(blueprint, images, recipe, held))

    def loss_of(step: int, rng: torch.Generator) -> torch.Tensor:
        batch = pictures.batch(recipe, step, rng)
        said = said_by(blueprint, teacher, batch)
        total = torch.zeros((), device=device)
        for size in draw_sizes(blueprint, rng):
            with precision.training(device):
                scores = descendants.logits(size, params, batch.patches, batch.kept)
            total = total + imitation_loss(scores.float(), said, batch.labels)
        return total

    @torch.no_grad()
    def held_out(batch: Batch) -> float:
        sizes = (blueprint.reference, blueprint.score.size())
        named = torch.stack([descendants.logits(size, params, batch.patches).argmax(dim=1) for size in sizes])
        return (named != batch.labels).float().mean().item()

    unseen = TrainingImages.of(blueprint, images.pixels[held], images.labels[held], device).whole(LOOKED_AT)
    trainer.run(loss_of, progress, partial(held_out, unseen) if unseen else None)
    delta = {name: params[name].detach().cpu().numpy() for name in start}
    compared = pictures.images if not len(held) else pixels.to_images(blueprint, images.pixels[held]).to(device)
    agreement = _agreement(descendants, params, teacher, compared[:LOOKED_AT])
    return CondenseResult(delta, trainer.step, agreement)


def said_by(blueprint: Blueprint, ancestry: net.Weights, batch: Batch) -> torch.Tensor:
    """What an ancestry model says of a batch, without gradients: logarithms of probabilities, shape (N, classes)."""
    with torch.no_grad(), precision.training(str(batch.patches.device)):
        scores = logits(blueprint, ancestry, batch.patches, batch.kept)
    return scores.float().log_softmax(dim=1)


def imitation_loss(scores: torch.Tensor, said: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How far a net is from the ancestry model and, with less weight, from the labels.

    Args:
        scores: the net's logits, shape (N, classes).
        said: from `said_by`, of the same batch.
        labels: shape (N,).
    """
    imitation = F.kl_div(scores.log_softmax(dim=1), said, reduction="batchmean", log_target=True)
    return _LABEL_WEIGHT * F.cross_entropy(scores, labels) + imitation


class Descendants:
    """The descendants of one learngene with weight one; the seed's part of each depth is expanded once."""

    def __init__(self, blueprint: Blueprint, seed: net.Weights) -> None:
        self.blueprint, self.seed = blueprint, seed
        self._expanded: dict[int, Params] = {}

    def logits(
        self, size: Size, params: net.Weights, patches: torch.Tensor, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The logits of the descendant of that size, under the first columns of its head; shape (N, outputs)."""
        blueprint = self.blueprint
        added = expansion.expand(expansion.plan(blueprint, size, blueprint.components), params)
        weights = {name: tensor + added[name] for name, tensor in self._seed(size).items()}
        features = net.features(blueprint, size, weights, patches, kept)
        return F.linear(features, params["head.weight"][:, : blueprint.width(size.heads)], params["head.bias"])

    def _seed(self, size: Size) -> Params:
        blueprint = self.blueprint
        if size.depth not in self._expanded:
            full = expansion.plan(blueprint, Size(size.depth, blueprint.heads), blueprint.seed.components)
            self._expanded[size.depth] = expansion.expand(full, self.seed)
        whole = self._expanded[size.depth]
        targets = expansion.plan(blueprint, size, blueprint.seed.components).targets
        return {target.name: target.cut(whole[target.name]) for target in targets}


@torch.inference_mode()
def _agreement(descendants: Descendants, params: net.Weights, teacher: net.Weights, images: torch.Tensor) -> float:
    patches = pixels.to_patches(descendants.blueprint, images)
    ours = descendants.logits(descendants.blueprint.reference, params, patches).argmax(dim=1)
    theirs = logits(descendants.blueprint, teacher, patches).argmax(dim=1)
    return float((ours == theirs).float().mean())
