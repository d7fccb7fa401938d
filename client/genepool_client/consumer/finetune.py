"""Plain training of a descendant by timm's own optimiser and schedule: the one fine-tuning loop.

`genepool finetune` runs it on a verified folder, the simulation and the benchmark on each of their starts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import fit_head
from genepool_client.consumer.descendant.load import empty, put_weights, save
from genepool_client.consumer.descendant.staging import Staging, storage_errors
from genepool_client.consumer.descendant.verify import Descendant
from genepool_client.consumer.descendant.weights import read_weights
from genepool_client.pictures.images import ImageSet
from genepool_client.training.held_out import HeldOutAccuracy, split
from genepool_client.transport.durable import write_atomic
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.descendant import weight_text
from genepool_protocol.progress import Progress, silent
from genepool_protocol.selection import net, pixels
from genepool_protocol.selection.support import Pixels
from genepool_protocol.wire.errors import InvalidInput

_HELD_OUT: Final = 0.2
"""Share of each class that is held out; at least one image where there are two."""


_BESIDE: Final = 4 << 20
"""Bytes beside a net of the descendant's size: a head of many classes, config and card."""


@dataclass(frozen=True, slots=True)
class FinetuneRecipe:
    """How long and how hard; the defaults suit some hundred images.

    Few images bear little: at size 6,2 with five images of five classes, ten epochs at 1e-3 lost 4.1 points to the
    closed-form head, at 3e-4 0.5, at 1e-4 0.1 (forty tasks of the benchmark, under the one-cycle schedule that it had
    then, from what TALS chose); with twenty images 0.9, 0.1 and none (twenty tasks).

    Attributes:
        epochs: how often every image is seen.
        batch: images a step, at most.
        lr: highest learning rate.
        decay: of the weights (AdamW).
        smoothing: of the labels.
        rng: where all randomness starts.
        device: a torch device.
        steps: of all training, whatever the epochs say; 0: as many as the epochs take.
    """

    epochs: int = 10
    batch: int = 32
    lr: float = 3e-4
    decay: float = 0.05
    smoothing: float = 0.05
    rng: int = 0
    device: str = "cpu"
    steps: int = 0

    def steps_an_epoch(self, images: int) -> int:
        """Batches that show so many images once; the last one may be small."""
        return -(-images // self.batch)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What fine-tuning came to.

    Attributes:
        model: the trained net, in eval mode on the CPU.
        classes: of its head.
        trained: images it was trained on.
        held: images that were held out: none that the descendant's selection and head saw.
        before: on the held-out images with a closed-form head of the training part; None without any.
        after: the same after training.
        caveat: what the accuracy cannot say, or why there is none; a sentence, or nothing.
    """

    model: VisionTransformer
    classes: tuple[str, ...]
    trained: int
    held: int
    before: HeldOutAccuracy | None
    after: HeldOutAccuracy | None
    caveat: str = ""

    def says(self) -> str:
        """The measurement in words."""
        if self.before is None or self.after is None:
            return f"no accuracy: {self.caveat}"
        measured = f"accuracy on {self.held} held-out images: {self.before} before, {self.after} after"
        return f"{measured} ({self.caveat})" if self.caveat else measured


def hold_out(images: ImageSet, rng: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and held out, where one of a group is seen all of it.

    Args:
        images: that were given.
        rng: where the draw starts.
        seen: bool of shape (N,): images that are never held out.

    Raises:
        InvalidInput: SUPPORT_TOO_SMALL, no class has two images, or each has a single group.
    """
    trained, held = split(images.labels, _HELD_OUT, rng, groups=images.groups, never=seen, least=1)
    if not len(held) and not seen.any():
        raise InvalidInput(
            "SUPPORT_TOO_SMALL",
            "no class has two images, or two groups of them, so none can be held out to measure on",
            "give more images of some class",
        )
    return trained, held


def finetune(verified: Descendant, images: ImageSet, recipe: FinetuneRecipe, progress: Progress) -> Tuned:
    """Train every weight of a descendant on labelled images.

    It starts from a closed-form head that is fitted to the training part; the folder's may have seen all images. Images
    that the descendant was selected on are not held out, where the folder says which these are.

    Args:
        verified: from `verify`.
        images: at the blueprint's size.
        recipe: how long and how hard.
        progress: called after every step.

    Raises:
        InvalidInput: SUPPORT_TOO_SMALL.
        VerificationError: FOLDER_TAMPERED, the folder changed since it was verified.
    """
    blueprint, size, classes = verified.blueprint, verified.lineage.size, tuple(images.classes)
    seen, caveat = _seen(verified, images)
    trained, held = hold_out(images, recipe.rng, seen)
    body = read_weights(verified)
    features = net.embed(blueprint, size, body, images.pixels[trained])
    model = empty(blueprint, size, len(classes), classes)
    put_weights(model, body, fit_head(features.numpy(), images.labels[trained]))
    unseen = images.pixels[held], images.labels[held]
    before = _measured(model, blueprint, *unseen, recipe.device)
    train(model, blueprint, images.pixels[trained], images.labels[trained], recipe, progress)
    after = _measured(model, blueprint, *unseen, recipe.device)
    if not len(held):
        caveat = "the descendant was selected on all of these images; give others besides to measure on"
    return Tuned(model.cpu().eval(), classes, len(trained), len(held), before, after, caveat)


def intensity_of(verified: Descendant) -> str:
    """What was black and white in the images that the descendant was selected on; empty where nobody noted it."""
    if not verified.classes:
        return ""
    span = head_file.read(verified.folder, verified.blueprint.width(verified.lineage.size.heads)).intensity
    return "" if span is None else str(span)


def _seen(verified: Descendant, images: ImageSet) -> tuple[np.ndarray, str]:
    """Which images the descendant was selected on, and what is to be said where nobody knows."""
    none = np.zeros(len(images.labels), dtype=bool)
    if not verified.classes:
        return none, "" if not verified.lineage.dependencies else "if it was not selected on these very images"
    digests = head_file.read(verified.folder, verified.blueprint.width(verified.lineage.size.heads)).seen
    if digests is None:
        return none, "if it was not selected on these very images"
    known = {digest.tobytes() for digest in digests}
    return np.array([digest.tobytes() in known for digest in head_file.digests_of(images.pixels)]), ""


def _measured(
    model: VisionTransformer, blueprint: Blueprint, images: Pixels, labels: np.ndarray, device: str
) -> HeldOutAccuracy | None:
    """The accuracy on these images; None without any."""
    if not len(labels):
        return None
    share = accuracy(model, blueprint, images, labels, device)
    return HeldOutAccuracy(round(share * len(labels)), len(labels))


@torch.inference_mode()
def accuracy(
    model: VisionTransformer,
    blueprint: Blueprint,
    images: Pixels,
    labels: np.ndarray,
    device: str = "cpu",
    batch: int = 256,
) -> float:
    """Share of uint8 images of shape (N, H, W, 3) that the model names as the labels, shape (N,), do."""
    model.to(device).eval()
    right = 0
    for start in range(0, len(labels), batch):
        pictures = pixels.to_images(blueprint, images[start : start + batch]).to(device)
        named = model(pictures).argmax(dim=1).cpu().numpy()
        right += int((named == labels[start : start + batch]).sum())
    return right / len(labels)


def train(
    model: VisionTransformer,
    blueprint: Blueprint,
    images: Pixels,
    labels: np.ndarray,
    recipe: FinetuneRecipe,
    progress: Progress = silent,
) -> None:
    """Train every weight of a net, in place.

    Args:
        model: with a head for the classes; it goes to the recipe's device.
        blueprint: the family.
        images: uint8, shape (N, H, W, 3).
        labels: classes 0..C-1, shape (N,).
        recipe: how long and how hard.
        progress: called after every step.
    """
    rng = torch.Generator().manual_seed(recipe.rng)
    model.to(recipe.device)
    pictures, classes = pixels.to_images(blueprint, images), torch.from_numpy(np.asarray(labels, dtype=np.int64))
    per_epoch = recipe.steps_an_epoch(len(classes))
    steps = recipe.steps or recipe.epochs * per_epoch
    optimizer = create_optimizer_v2(model, opt="adamw", lr=recipe.lr, weight_decay=recipe.decay, betas=(0.9, 0.98))
    schedule = CosineLRScheduler(
        optimizer, t_initial=max(1, steps), warmup_t=steps // 10, warmup_lr_init=recipe.lr / 10, t_in_epochs=False
    )
    model.train()
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(classes), generator=rng)
        chosen = order[step % per_epoch * recipe.batch :][: recipe.batch]
        schedule.step_update(step)
        loss = _step(model, optimizer, pixels.augment(pictures[chosen], rng), classes[chosen], recipe)
        progress(step + 1, steps, f"epoch {step // per_epoch + 1}, loss {loss:.3f}")


def _step(
    model: VisionTransformer, optimizer: Any, batch: torch.Tensor, labels: torch.Tensor, recipe: FinetuneRecipe
) -> float:
    scores = model(batch.to(recipe.device))
    loss = torch.nn.functional.cross_entropy(scores, labels.to(recipe.device), label_smoothing=recipe.smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.item())


def place(verified: Descendant, out: Path) -> Staging:
    """Where the trained net goes, with room for it: taken before the training, which would else be in vain.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
        Unavailable: FOLDER_IN_USE, another process makes the same folder.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    staging = Staging(out, {"finetuned": verified.lineage.model})
    staging.clear()
    try:
        staging.reserve(descendant.total_bytes(verified.blueprint, verified.lineage.size) + _BESIDE)
    except BaseException as exc:
        staging.__exit__(type(exc), exc, None)
        raise
    return staging


def write(tuned: Tuned, verified: Descendant, staging: Staging) -> None:
    """The trained net as a folder that stock timm loads, with a card that credits the sites; whole or not there.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    staging.release()
    with storage_errors(staging.out):
        save(tuned.model, staging.folder, verified.blueprint, verified.lineage.size)
        write_atomic(staging.folder / "README.md", _card(tuned, verified).encode())
    staging.publish()


def _card(tuned: Tuned, verified: Descendant) -> str:
    lineage = verified.lineage
    rows = [
        f"| {weight_text(item.milli)} | {item.site} | {item.license} | `{item.contribution_id[:16]}` |"
        for item in lineage.dependencies
    ]
    says = tuned.says()
    table = "\n".join(["| weight | site | licence | contribution |", "|---|---|---|---|", *rows])
    return f"""---
library_name: timm
tags: [genepool, image-classification]
---

# Fine-tuned descendant {lineage.size} of {verified.blueprint.name}

Trained on {tuned.trained} images of {len(tuned.classes)} classes, from a descendant of the pool `{lineage.origin}`
(model.safetensors with SHA-256 `{lineage.model}`). {says[0].upper()}{says[1:]}.
Classes: {", ".join(tuned.classes)}.

{table if rows else "The descendant was made from the seed alone."}

    timm.create_model("local-dir:FOLDER", pretrained=True)
"""
