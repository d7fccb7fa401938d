"""The only place where the benchmark calls training and TALS: a change of their signatures is a change here alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from genepool_client.pictures.images import ImageSet
from genepool_client.training import ancestry, condense, recipe, trainer
from genepool_client.training import privacy as site_privacy
from genepool_client.training.batches import TrainingImages
from genepool_client.training.recipe import TrainRecipe, suited
from genepool_client.training.trainer import Trainer, leaves
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.store import code_digest
from genepool_protocol.learngene import algebra, expansion, privacy
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import (
    combination,
    discriminant,
    embedding,
    guard,
    net,
    pixels,
    retrieval,
    scoring,
    tals,
    views,
)
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.scorer import Local, Scorer
from genepool_protocol.selection.support import Labels, Pixels
from genepool_protocol.training import best, loop, muon, precision
from genepool_protocol.training.loop import Params
from genepool_protocol.wire.limits import LIMITS

NET_CODE: Final = code_digest(net, pixels, expansion, algebra)
TRAIN_CODE: Final = code_digest(
    ancestry,
    condense,
    trainer,
    recipe,
    embedding,
    privacy,
    site_privacy,
    loop,
    best,
    precision,
    muon,
    net,
    pixels,
    expansion,
)
SELECT_CODE: Final = code_digest(
    combination, discriminant, guard, retrieval, scoring, tals, embedding, views, net, pixels, expansion
)
"""Versions of the steps, part of their domain embeddings."""


@dataclass(frozen=True, slots=True)
class Made:
    """A learngene and what stays at the site.

    Attributes:
        delta: as it is sent, float16.
        embedding: as it is sent.
        ancestry: the ancestry model's weights.
        facts: accuracy, agreement, steps, seconds of processor time.
    """

    delta: npt.NDArray[np.float16] = field(repr=False)
    embedding: Embedding = field(repr=False)
    ancestry: Mapping[str, torch.Tensor] = field(repr=False)
    facts: dict[str, float]


def recipes(
    blueprint: Blueprint, images: ImageSet, steps: int, rng: int, share: float = 1.0
) -> tuple[TrainRecipe, TrainRecipe]:
    """How to train an ancestry model and how to condense it.

    Args:
        blueprint: the family.
        images: of the site.
        steps: of the ancestry model, condensing in proportion; 0: the recipe's own.
        rng: random numbers of both.
        share: of those steps.
    """
    size = len(images.labels), len(images.classes)
    train, shrink = (suited(blueprint, make(*size)) for make in (ancestry.default_recipe, condense.default_recipe))
    ratio = shrink.steps / train.steps
    shorter = max(2, round((steps or train.steps) * share))
    return replace(train, steps=shorter, rng=rng), replace(shrink, steps=max(2, round(shorter * ratio)), rng=rng)


def _ignore(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def make_learngene(lab: Lab, images: ImageSet, train: TrainRecipe, shrink: TrainRecipe, work: Path) -> Made:
    """A site's whole way: ancestry model, condensing, domain embedding."""
    started = time.process_time()
    gene = lab.gene(lab.seed)
    old = ancestry.train_ancestry(lab.blueprint, gene, images, work, recipe=train, progress=_ignore)
    between = time.process_time()
    small = condense.condense(lab.blueprint, gene, images, old.weights, work, recipe=shrink, progress=_ignore)
    facts = {
        "accuracy": old.accuracy.share,
        "agreement": small.agreement,
        "steps": old.steps,
        "condense_steps": small.steps,
        "ancestry_seconds": between - started,
        "condense_seconds": time.process_time() - between,
    }
    exact = embedding.mean_of(lab.blueprint, lab.seed_tensors, images.pixels)
    released = site_privacy.noised(exact, _noise(lab.blueprint, len(images.labels)))
    return Made(_sent(lab, small.delta), released, old.weights, facts)


def _noise(blueprint: Blueprint, images: int) -> float:
    clip = float(blueprint.embedding_frame.clip)
    return float(site_privacy.sigma_of(clip, images, privacy.EPSILON, privacy.DELTA))


def condense_onto(
    lab: Lab, base: algebra.Flat, images: ImageSet, old: net.Weights, shrink: TrainRecipe, work: Path
) -> npt.NDArray[np.float16]:
    """A residual learngene: condensed on top of the frozen sum `base` instead of the seed."""
    condensed = condense.condense(lab.blueprint, lab.gene(base), images, old, work, recipe=shrink, progress=_ignore)
    return _sent(lab, condensed.delta)


def _sent(lab: Lab, delta: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float16]:
    layout = expansion.gene_layout(lab.blueprint, lab.blueprint.components)
    return algebra.flatten(layout, delta).astype(np.float16)


def distil(lab: Lab, images: ImageSet, old: net.Weights, size: Size, shrink: TrainRecipe, work: Path) -> Params:
    """A net of one size, trained directly: from the seed's descendant, with the losses and steps of condensing."""
    blueprint = lab.blueprint
    origin = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), lab.seed_tensors)
    classes = len(images.classes)
    head = {"head.weight": torch.zeros(classes, blueprint.width(size.heads)), "head.bias": torch.zeros(classes)}
    params = leaves({**origin, **head}, "cpu")
    trained, _ = ancestry.hold_out(images)
    pictures = TrainingImages.of(blueprint, images.pixels[trained], images.labels[trained], "cpu")
    training = Trainer(
        params, origin, shrink, work / "direct.pt", f"{blueprint.sha256} {images.digest} {size} {shrink}"
    )

    def loss_of(step: int, rng: torch.Generator) -> torch.Tensor:
        batch = pictures.batch(shrink, step, rng)
        said = condense.said_by(blueprint, old, batch)
        with precision.training("cpu"):
            features = net.features(blueprint, size, params, batch.patches, batch.kept)
            scores = F.linear(features, params["head.weight"], params["head.bias"]).float()
        return condense.imitation_loss(scores, said, batch.labels)

    training.run(loss_of, _ignore)
    return {name: tensor.detach() for name, tensor in params.items() if name in origin}


def train_round(
    lab: Lab, body: net.Weights, head: net.Weights, images: ImageSet, train: TrainRecipe, work: Path
) -> tuple[Params, Params]:
    """One site's round of FedAvg: the ancestry model's loss and recipe, from the common body and the site's head."""
    params = leaves({**body, **head}, "cpu")
    trained, _ = ancestry.hold_out(images)
    pictures = TrainingImages.of(lab.blueprint, images.pixels[trained], images.labels[trained], "cpu")
    start = {name: tensor.clone() for name, tensor in body.items()}
    training = Trainer(params, start, train, work / "round.pt", f"{images.digest} {train}")

    def loss_of(step: int, rng: torch.Generator) -> torch.Tensor:
        batch = pictures.batch(train, step, rng)
        with precision.training("cpu"):
            scores = ancestry.logits(lab.blueprint, params, batch.patches, batch.kept)
        return F.cross_entropy(scores.float(), batch.labels)

    training.run(loss_of, _ignore)
    weights = {name: tensor.detach() for name, tensor in params.items()}
    return {name: weights[name] for name in body}, {name: weights[name] for name in head}


def reference_weights(lab: Lab) -> Params:
    """The seed's net at the reference size: where ancestry models and FedAvg start."""
    blueprint = lab.blueprint
    return dict(
        expansion.expand(expansion.plan(blueprint, blueprint.reference, blueprint.seed.components), lab.seed_tensors)
    )


def as_gene(lab: Lab, weights: Mapping[str, npt.NDArray[np.float32]]) -> algebra.Flat:
    """The difference from the seed of a net of the reference size, with all components: exact at that size."""
    components = lab.blueprint.seed.components
    origin = reference_weights(lab)
    difference = {name: weights[name] - origin[name].numpy() for name in origin}
    gene = expansion.project(lab.blueprint, difference, components)
    return algebra.flatten(expansion.gene_layout(lab.blueprint, components), gene)


@dataclass(frozen=True, slots=True)
class Answer:
    """What TALS said.

    Attributes:
        choice: seed, single or combination.
        weights: the mixture, in thousandths.
        reason: one sentence.
    """

    choice: str
    weights: combination.Mixture
    reason: str


def thin_delta(lab: Lab, delta: algebra.Stored) -> dict[str, npt.NDArray[np.float32]]:
    """A learngene's thin slice, as consumers fetch it."""
    layout = expansion.gene_layout(lab.blueprint, lab.blueprint.components)
    whole = algebra.views(layout, np.asarray(delta, dtype=np.float32))
    return tals.thin(lab.blueprint, net.as_tensors(whole))


def select(
    lab: Lab,
    embeddings: Mapping[str, Embedding],
    deltas: Mapping[str, algebra.Stored],
    images: Pixels,
    labels: Labels,
) -> Answer:
    """TALS as a consumer runs it.

    Args:
        lab: blueprint and seed.
        embeddings: of every member of the pool.
        deltas: of every member.
        images: the support set.
        labels: shape (N,), 0..C-1.
    """
    task = embedding.task_embedding(lab.blueprint, lab.seed_tensors, images)
    members = [Member(name, its) for name, its in embeddings.items()]
    scorer = Scorer(lab.blueprint, lab.seed_tensors, images, labels)
    short_list = [name for name, _ in retrieval.retrieve(task, members, LIMITS.short_list)]
    thin = {name: net.as_tensors(thin_delta(lab, deltas[name])) for name in short_list}
    selection = tals.select(task, members, Local(scorer, thin), labels=labels)
    return Answer(selection.choice, selection.weights, selection.reason)


def nearest(lab: Lab, embeddings: Mapping[str, Embedding], images: Pixels) -> str:
    """The member whose domain embedding is nearest."""
    task = embedding.task_embedding(lab.blueprint, lab.seed_tensors, images)
    return retrieval.retrieve(task, [Member(name, its) for name, its in embeddings.items()], 1)[0][0]
