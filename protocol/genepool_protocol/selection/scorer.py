"""The scorer: what TALS measures a mixture of learngenes by, on the images of one support set, in torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import discriminant, net, scoring, views
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.selection.pixels import to_images, to_patches
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.support import Labels, Pixels, can_leave_out, looked_at

_BATCH: Final = 64
"""Images that one backward pass looks at."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores mixtures of thin learngenes on one support set: the arithmetic of stages B to D.

    Of a large support set it keeps the images that `support.looked_at` names, and no others.

    Attributes:
        blueprint: the family.
        seed: the seed gene, of full or of scoring width.
        pixels: the support set, uint8 of shape (N, image, image, 3).
        labels: shape (N,).
    """

    blueprint: Blueprint
    seed: net.Weights
    pixels: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        index = looked_at(self.labels)
        object.__setattr__(self, "pixels", self.pixels[index])
        object.__setattr__(self, "labels", self.labels[index])

    def score(self, deltas: Sequence[tuple[int, net.Weights]]) -> Score:
        """The score of seed + sum of (weight in thousandths, delta); deltas may be thin slices.

        At 1-shot it is that of their views.
        """
        shown, labels = self.pixels, self.labels
        if not can_leave_out(labels):
            shown, labels = views.spread(shown, labels)
        features = net.embed(self.blueprint, self.blueprint.score.size(), self._weights(deltas), shown)
        return scoring.score(features.numpy(), labels)

    def gradient(self, deltas: Sequence[tuple[int, net.Weights]]) -> net.Weights:
        """The gradient of the mean leave-one-out error at that mixture with respect to a thin learngene, by name.

        The adjoint of D does what a backward pass through the expansion plan does.
        """
        blueprint, size = self.blueprint, self.blueprint.score.size()
        weights, labels = self._weights(deltas), torch.from_numpy(self.labels)
        features = net.embed(blueprint, size, weights, self.pixels).double().requires_grad_()
        logits = discriminant.leave_one_out(features, labels)
        scale = discriminant.sharpness(logits.detach(), labels)
        (slopes,) = torch.autograd.grad(discriminant.errors(logits, labels, scale).mean(), features)
        layout = expansion.gene_layout(blueprint, blueprint.components, size.heads)
        gene = {name: torch.zeros(shape, requires_grad=True) for name, shape in layout.items()}
        the_plan = expansion.plan(blueprint, size, blueprint.components)
        for at in range(0, len(self.pixels), _BATCH):  # a graph of few images at a time, whatever the support set
            moved = {name: weights[name] + part for name, part in expansion.expand(the_plan, gene).items()}
            patches = to_patches(blueprint, to_images(blueprint, self.pixels[at : at + _BATCH]))
            seen = net.features(blueprint, size, moved, patches)
            torch.autograd.backward(seen, slopes[at : at + _BATCH].float())
        return {name: torch.zeros(layout[name]) if leaf.grad is None else leaf.grad for name, leaf in gene.items()}

    def _weights(self, deltas: Sequence[tuple[int, net.Weights]]) -> dict[str, torch.Tensor]:
        size, blueprint = self.blueprint.score.size(), self.blueprint
        weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), self.seed)
        the_plan = expansion.plan(blueprint, size, blueprint.components)
        for milli, delta in deltas:
            for name, part in expansion.expand(the_plan, delta).items():
                weights[name] = weights[name] + (milli / 1000) * part
        return weights


@dataclass(frozen=True, slots=True)
class Local:
    """The `Evaluator` of whoever holds the thin learngenes: one after the other, on this thread."""

    scorer: Scorer
    thin: Mapping[str, net.Weights]

    def scores(self, mixtures: Sequence[Mixture]) -> Iterable[Score]:
        """The score of each mixture, in order."""
        return [self.scorer.score(self._members(mixture)) for mixture in mixtures]

    def slopes(self, mixture: Mixture, ids: Sequence[str]) -> list[float]:
        """The slopes at the mixture along each learngene, in order."""
        gradient = self.scorer.gradient(self._members(mixture))
        return [slope(gradient, self.thin[name]) for name in ids]

    def _members(self, mixture: Mixture) -> list[tuple[int, net.Weights]]:
        return [(milli, self.thin[name]) for name, milli in mixture]


def slope(gradient: net.Weights, delta: net.Weights) -> float:
    """How the error changes along a thin learngene, per unit of its weight: their inner product."""
    return float(sum(float(torch.dot(part.flatten(), delta[name].flatten())) for name, part in gradient.items()))
