"""Baking a seed learngene: training the whole family at once on public images.

The seed is trained as a gene: every step expands it to a full-width and to a narrower or shallower size (the sandwich),
predicts a teacher's features of one mixed batch of public images where those are given, and names its classes. The
heads are thrown away.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from genepool_protocol.learngene import expansion, tensors
from genepool_protocol.learngene.blueprint import Blueprint, bundled_folder, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net, pixels, precision
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, Refused

Gene = dict[str, torch.Tensor]
Progress = Callable[[int, int, str], None]

CHECKPOINT = "bake.pt"
LOG = "bake.json"
_HELD_OUT = 25  # one image in so many of each class is never trained on
_LOG_EVERY = 100  # steps; the checkpoint is written as often


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a seed is baked; the defaults take about 25 minutes on one free core for `nano-32`.

    Attributes:
        steps: training steps.
        batch: images a step.
        lr: highest learning rate.
        weight_decay: of matrices.
        warmup: steps until the highest learning rate.
        smoothing: of class labels.
        class_weight: of classification, where a teacher's features are given.
        inverted: share of images whose brightness is turned round.
        patches: share of patches that a step looks at, until `whole`.
        whole: share of the steps after which every patch is looked at.
        rng: where all randomness starts.
    """

    steps: int = 4600
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    smoothing: float = 0.1
    class_weight: float = 0.4
    inverted: float = 0.25
    patches: float = 0.5
    whole: float = 0.7
    rng: int = 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Public images to bake from.

    Attributes:
        images: uint8, shape (N, image, image, 3).
        labels: shape (N,).
        names: SET/CLASS of every label.
        targets: whitened features of a teacher, float32 of shape (2, N, K): of the images as they are, and inverted;
            or None.
    """

    images: np.ndarray
    labels: np.ndarray
    names: list[str]
    targets: np.ndarray | None = None


def read_corpus(folder: Path, image: int, teacher: Path | None = None) -> Corpus:
    """All images of `folder/SET/CLASS/*.png`, and a teacher's features of them, in the same order.

    Args:
        folder: the corpus.
        image: pixels a side.
        teacher: an .npz with `features` and `inverted` of shape (N, width), as `deploy/data` makes it.

    Raises:
        InvalidInput: FOLDER_EMPTY; FILE_MALFORMED or DIGEST_MISMATCH when the teacher's file does not fit.
    """
    names: list[str] = []
    images, labels = [], []
    for path in sorted(folder.glob("*/*/")):
        files = sorted(path.glob("*.png"))
        if files:
            labels += [len(names)] * len(files)
            names.append(f"{path.parent.name}/{path.name}")
            images += [np.asarray(Image.open(f).convert("RGB").resize((image, image)), dtype=np.uint8) for f in files]
    if not images:
        raise InvalidInput("FOLDER_EMPTY", f"{folder} holds no SET/CLASS/*.png", "make the corpus first")
    targets = None if teacher is None else _targets(teacher, len(images))
    return Corpus(np.stack(images), np.array(labels), names, targets)


def _targets(teacher: Path, count: int) -> np.ndarray:
    try:
        with np.load(teacher) as saved:
            views = [np.asarray(saved[name], dtype=np.float32) for name in ("features", "inverted")]
    except (OSError, KeyError, ValueError) as exc:
        raise InvalidInput("FILE_MALFORMED", f"{teacher} holds no teacher's features", "make it again") from exc
    if any(len(view) != count for view in views):
        raise InvalidInput("DIGEST_MISMATCH", f"{teacher} has {len(views[0])} rows for {count} images", "make it again")
    return whiten(np.concatenate(views)).reshape(2, count, -1)


def whiten(features: np.ndarray, keep: int = 192) -> np.ndarray:
    """The leading principal components, partly whitened (divided by the fourth root of variance), unit mean square."""
    centred = features - features.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = np.argsort(variance)[::-1][:keep]
    scores = centred @ axes[:, leading] / np.maximum(variance[leading], 1e-6) ** 0.25
    return np.asarray(scores / np.sqrt((scores**2).mean()), dtype=np.float32)


def fresh_gene(blueprint: Blueprint, rng: torch.Generator) -> Gene:
    """A random gene with as many components as the seed: every layer of the reference size starts like a timm ViT."""
    gene: Gene = {}
    spread = 0.02 / blueprint.seed.components**0.5 * 1.5
    for name, shape in expansion.gene_layout(blueprint, blueprint.seed.components).items():
        last = name.rsplit(".", 1)[-1]
        if ("norm" in name and last == "weight") and (not name.startswith("a") or name.startswith("a0.")):
            gene[name] = torch.ones(shape)
        elif last == "bias" or "norm" in name:
            gene[name] = torch.zeros(shape)
        elif name.startswith("patch_embed"):
            gene[name] = torch.randn(shape, generator=rng) * 0.15
        elif name == "pos_embed":
            gene[name] = 0.3 * _positions(blueprint)
        else:
            gene[name] = torch.randn(shape, generator=rng) * spread
    return gene


def _positions(blueprint: Blueprint) -> torch.Tensor:
    """Sines and cosines in two dimensions, interleaved so that every prefix of the width sees all directions."""
    side, quarter = blueprint.image // blueprint.patch, blueprint.width(blueprint.heads) // 4
    rate = 1.0 / 10000 ** (torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = row.reshape(-1, 1) * rate, column.reshape(-1, 1) * rate
    return torch.stack([y.sin(), y.cos(), x.sin(), x.cos()], dim=-1).reshape(1, blueprint.tokens, -1)


def stack(blueprint: Blueprint, gene: net.Weights) -> Gene:
    """A gene with its components stacked along a new first axis: one tensor per name, and one product to expand it."""
    count = blueprint.seed.components
    names = list(dict.fromkeys(name.split(".", 1)[1] for name in gene if name.startswith("a0.")))
    stem = {name: gene[name].clone() for name in expansion.gene_layout(blueprint, 0)}
    return stem | {name: torch.stack([gene[f"a{n}.{name}"] for n in range(count)]) for name in names}


def unstack(blueprint: Blueprint, stacked: net.Weights) -> Gene:
    """The inverse of `stack`."""
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    gene = {}
    for name in layout:
        component, _, rest = name.partition(".")
        gene[name] = stacked[rest][int(component[1:])] if component[1:].isdigit() else stacked[name]
    return {name: tensor.detach().clone() for name, tensor in gene.items()}


def expand_stacked(blueprint: Blueprint, size: Size, stacked: net.Weights) -> Gene:
    """`expansion.expand` of a stacked gene: one matrix product per name instead of a sum per layer and component."""
    the_plan = expansion.plan(blueprint, size, blueprint.seed.components)
    used = min(blueprint.seed.components, size.depth)
    mix = torch.tensor([[expansion.basis(n, layer, size.depth) for n in range(used)] for layer in range(size.depth)])
    weights: Gene = {}
    for target in the_plan.targets:
        if not target.name.startswith("blocks."):
            weights[target.name] = target.cut(stacked[target.name])
        elif target.name.startswith("blocks.0."):
            name, cut = target.name.removeprefix("blocks.0."), target.cut
            parts = stacked[name][:used]
            parts = parts.reshape(used, cut.groups, parts.shape[1] // cut.groups, *parts.shape[2:])
            parts = parts[(slice(None), slice(None), *(slice(0, n) for n in cut.keep))]
            layers = (mix @ parts.reshape(used, -1)).reshape(size.depth, *target.shape)
            weights.update({f"blocks.{layer}.{name}": layers[layer] for layer in range(size.depth)})
    return weights


def _sandwich(blueprint: Blueprint, rng: torch.Generator) -> tuple[Size, Size]:
    low, high = blueprint.depths

    def draw(first: int, last: int) -> int:
        return int(torch.randint(first, last + 1, (1,), generator=rng))

    full = Size(blueprint.depth if draw(0, 2) else draw(min(low + 2, high), high), blueprint.heads)
    return full, Size(draw(low, blueprint.depth), draw(1, max(1, blueprint.heads - 1)))


@dataclass(slots=True)
class Oven:
    """One baking: the gene, its heads, the optimiser and how far it is; saved to and resumed from a checkpoint."""

    blueprint: Blueprint
    corpus: Corpus
    recipe: Recipe
    checkpoint: Path | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    rng: torch.Generator = field(init=False)
    stacked: Gene = field(init=False)
    head: torch.Tensor = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    trained: np.ndarray = field(init=False)
    held: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        blueprint, corpus, recipe = self.blueprint, self.corpus, self.recipe
        self.rng = torch.Generator().manual_seed(recipe.rng)
        fresh = stack(blueprint, fresh_gene(blueprint, self.rng))
        self.stacked = {name: tensor.requires_grad_() for name, tensor in fresh.items()}
        outputs = len(corpus.names) + (0 if corpus.targets is None else corpus.targets.shape[2])
        width = blueprint.width(blueprint.heads)
        self.head = (torch.randn(outputs, width, generator=self.rng) * 0.02).requires_grad_()
        layout = expansion.gene_layout(blueprint, 1)
        matrices = {name.removeprefix("a0.") for name, shape in layout.items() if len(shape) > 1}
        decayed = [tensor for name, tensor in self.stacked.items() if name in matrices]
        plain = [tensor for name, tensor in self.stacked.items() if name not in matrices]
        groups = [
            {"params": [*decayed, self.head], "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
        position = np.arange(len(corpus.labels)) - np.searchsorted(corpus.labels, corpus.labels)
        self.held = np.flatnonzero(position % _HELD_OUT == _HELD_OUT - 1)
        self.trained = np.setdiff1d(np.arange(len(corpus.labels)), self.held)
        self._resume()

    def bake(self, progress: Progress) -> Gene:
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
        return unstack(self.blueprint, self.stacked)

    def _update(self, loss: torch.Tensor) -> None:
        recipe = self.recipe
        rest = (self.step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        warm = (self.step + 1) / max(1, recipe.warmup)
        scale = warm if warm < 1 else 0.5 * (1 + math.cos(math.pi * max(0.0, rest)))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * scale
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*self.stacked.values(), self.head], 1.0)
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
        wanted = None if corpus.targets is None else torch.from_numpy(corpus.targets[turned.long().numpy(), chosen])
        total, figures = torch.zeros(()), np.zeros(4)
        for index, size in enumerate(_sandwich(blueprint, rng)):
            weights = expand_stacked(blueprint, size, self.stacked)
            with precision.training("cpu"):
                found = net.features(blueprint, size, weights, patches, kept).float()
            named, seen, right = self._answers(found, labels, wanted)
            total = total + (named if seen is None else seen + recipe.class_weight * named)
            figures[index], figures[2 + index] = 0.0 if seen is None else seen.item(), right
        return total, figures

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
        gene = unstack(self.blueprint, self.stacked)
        weights = expansion.expand(expansion.plan(self.blueprint, size, self.blueprint.seed.components), gene)
        found = net.embed(self.blueprint, size, weights, self.corpus.images[self.held])
        targets = self.corpus.targets
        wanted = None if targets is None else torch.from_numpy(targets[0, self.held])
        _, seen, right = self._answers(found, torch.from_numpy(self.corpus.labels[self.held]), wanted)
        error = None if seen is None else round(seen.item(), 4)
        return {"size": str(size), "accuracy": round(right, 4), "features": error}

    def _fingerprint(self) -> str:
        content = digest.sha256_hex(self.corpus.images.tobytes() + self.corpus.labels.tobytes())
        family = self.blueprint.model_dump(exclude={"name", "seed", "key", "score", "components"})
        return f"{content} {family} {self.recipe} {self.corpus.targets is not None}"

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "fingerprint": self._fingerprint(),
            "stacked": {name: tensor.detach() for name, tensor in self.stacked.items()},
            "head": self.head.detach(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "log": self.log,
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

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
            for name, tensor in state["stacked"].items():
                self.stacked[name].copy_(tensor)
            self.head.copy_(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]


def bake_folder(
    blueprint: Blueprint | str,
    corpus: Path,
    out: Path,
    *,
    teacher: Path | None = None,
    recipe: Recipe | None = None,
    progress: Progress = lambda _done, _total, _note: None,
) -> Blueprint:
    """Bake a seed from a corpus folder: what `genepool-server blueprint bake` does.

    Writes `seed.safetensors`, `blueprint.json` and `bake.json` (figures) into `out`. While it runs, `bake.pt` lies
    there and a second call continues from it.

    Args:
        blueprint: the family, or the name of a bundled blueprint whose family is meant; its seed reference is replaced.
        corpus: SET/CLASS/*.png.
        out: the blueprint's folder.
        teacher: a teacher's features of the corpus (.npz), or None to learn from classes alone.
        recipe: how long and how hard.
        progress: called with (done, total, note) after every step.

    Returns:
        The blueprint with the digest of its seed.

    Raises:
        InvalidInput: FOLDER_EMPTY, FILE_MALFORMED or DIGEST_MISMATCH.
        NotFound: BLUEPRINT_UNKNOWN.
        Refused: DATA_CHANGED, `bake.pt` belongs to another corpus, blueprint or recipe.
    """
    family = bundled(blueprint) if isinstance(blueprint, str) else blueprint
    chosen = recipe or Recipe()
    images = read_corpus(corpus, family.image, teacher)
    out.mkdir(parents=True, exist_ok=True)
    oven = Oven(family, images, chosen, out / CHECKPOINT)
    final = write_blueprint(family, oven.bake(progress), out)
    report = {
        "blueprint": final.name,
        "seed": final.seed.sha256,
        "corpus": {"images": len(images.labels), "classes": len(images.names)},
        "teacher": None if teacher is None else f"sha256:{digest.sha256_hex(teacher.read_bytes())}",
        "recipe": asdict(chosen),
        "minutes": round(oven.seconds / 60, 1),
        "held_out": [oven.held_out(size) for size in _reported(final)],
        "log": oven.log,
    }
    (out / LOG).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / CHECKPOINT).unlink(missing_ok=True)
    return final


def _reported(blueprint: Blueprint) -> list[Size]:
    depths = sorted({blueprint.depths[0], blueprint.depth // 2, blueprint.depth, blueprint.depths[1]})
    return [Size(depth, heads) for depth in depths if depth for heads in range(1, blueprint.heads + 1)]


def bundled(name: str) -> Blueprint:
    """A blueprint that ships inside the package.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    return parse_blueprint((bundled_folder(name) / "blueprint.json").read_bytes())


def write_blueprint(blueprint: Blueprint, gene: net.Weights, folder: Path) -> Blueprint:
    """Write `seed.safetensors` (float16) and `blueprint.json` with the seed's digest; returns that blueprint."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    raw = tensors.encode({name: gene[name].numpy() for name in layout}, "F16")
    seed = blueprint.seed.model_copy(update={"sha256": f"sha256:{digest.sha256_hex(raw)}", "size": len(raw)})
    final = blueprint.model_copy(update={"seed": seed})
    (folder / "seed.safetensors").write_bytes(raw)
    (folder / "blueprint.json").write_bytes(final.canonical())
    return final
