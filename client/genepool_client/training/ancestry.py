"""The ancestry model: a full ViT of the reference size, trained on the site's own images only, from the seed."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F

from genepool_client.pictures.images import ImageSet
from genepool_client.training.batches import Batch, TrainingImages
from genepool_client.training.held_out import HeldOutAccuracy, split
from genepool_client.training.recipe import TrainRecipe, scaled_steps
from genepool_client.training.trainer import Trainer, leaves
from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.progress import Progress
from genepool_protocol.selection import net
from genepool_protocol.training import precision
from genepool_protocol.training.loop import Params
from genepool_protocol.trust import digest

CHECKPOINT: Final = "ancestry.pt"
LOOKED_AT: Final = 256  # held-out images that decide when to stop, at most
_HELD_OUT: Final = 0.1
"""Share of each class that is never trained on; classes of fewer than ten images give none away."""
_STEPS: Final = 560  # for 700 images of 20 classes


@dataclass(frozen=True, slots=True)
class AncestryResult:
    """A trained ancestry model.

    Attributes:
        weights: by timm's names, with the head; they never leave the site.
        steps: training steps taken.
        accuracy: on the images that were held out, which also said when to stop.
    """

    weights: Params = field(repr=False)
    steps: int
    accuracy: HeldOutAccuracy


def default_recipe(images: int = 700, classes: int = 20) -> TrainRecipe:
    """The recipe for so many images and classes: by default one minute on a core with bfloat16."""
    return TrainRecipe(steps=scaled_steps(_STEPS, images, classes))


def hold_out(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a site's images to train on and held out: the same ones for ancestry model and learngene."""
    return split(images.labels, _HELD_OUT, 0, groups=images.groups)


def fingerprint(blueprint: Blueprint, images: ImageSet, recipe: TrainRecipe, held: np.ndarray) -> str:
    """What a checkpoint belongs to."""
    chosen = digest.sha256_hex(held.astype("<i8").tobytes())[:16]
    return f"{blueprint.sha256} {images.digest} {replace(recipe, device='cpu')} {chosen}"


def train_ancestry(
    blueprint: Blueprint,
    seed: dict[str, np.ndarray],
    images: ImageSet,
    work: Path,
    *,
    recipe: TrainRecipe,
    progress: Progress,
) -> AncestryResult:
    """Train an ancestry model; continues from `work/ancestry.pt` when it exists.

    Args:
        blueprint: the family.
        seed: the seed gene, float32 by name.
        images: the site's images.
        work: an existing folder for the checkpoint.
        recipe: how long and how hard.
        progress: called after every step.

    Raises:
        Refused: DATA_CHANGED, the checkpoint belongs to other images, another blueprint or recipe.
    """
    size, classes = blueprint.reference, len(images.classes)
    origin = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), net.as_tensors(seed))
    origin = {name: tensor.to(recipe.device) for name, tensor in origin.items()}
    head = {"head.weight": torch.zeros(classes, blueprint.width(size.heads)), "head.bias": torch.zeros(classes)}
    params = leaves({**origin, **head}, recipe.device)
    trained, held = hold_out(images)
    pictures = TrainingImages.of(blueprint, images.pixels[trained], images.labels[trained], recipe.device)
    trainer = Trainer(params, origin, recipe, work / CHECKPOINT, fingerprint(blueprint, images, recipe, held))

    def loss_of(step: int, rng: torch.Generator) -> torch.Tensor:
        batch = pictures.batch(recipe, step, rng)
        with precision.training(recipe.device):
            scores = logits(blueprint, params, batch.patches, batch.kept)
        return F.cross_entropy(scores.float(), batch.labels)

    unseen = TrainingImages.of(blueprint, images.pixels[held], images.labels[held], recipe.device).whole(LOOKED_AT)

    @torch.no_grad()
    def held_out(batch: Batch) -> float:
        named = logits(blueprint, params, batch.patches).argmax(dim=1)
        return (named != batch.labels).float().mean().item()

    trainer.run(loss_of, progress, partial(held_out, unseen) if unseen else None)
    weights = {name: tensor.detach().cpu() for name, tensor in params.items()}
    return AncestryResult(weights, trainer.step, accuracy(blueprint, weights, images, held))


def logits(
    blueprint: Blueprint, weights: net.Weights, patches: torch.Tensor, kept: torch.Tensor | None = None
) -> torch.Tensor:
    """The ancestry model's logits, shape (N, classes)."""
    features = net.features(blueprint, blueprint.reference, weights, patches, kept)
    return F.linear(features, weights["head.weight"], weights["head.bias"])


def accuracy(blueprint: Blueprint, weights: net.Weights, images: ImageSet, which: np.ndarray) -> HeldOutAccuracy:
    """How many of the chosen images the model names rightly."""
    if not len(which):
        return HeldOutAccuracy(0, 0)
    features = net.embed(blueprint, blueprint.reference, weights, images.pixels[which])
    named = F.linear(features, weights["head.weight"], weights["head.bias"]).argmax(dim=1).numpy()
    return HeldOutAccuracy(int((named == images.labels[which]).sum()), len(which))
