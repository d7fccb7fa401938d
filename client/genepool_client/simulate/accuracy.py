"""What a start is worth on one episode: with a closed-form head, and after the fine-tuning that ships."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import from_numpy

from genepool_client.consumer import finetune
from genepool_client.consumer.descendant.head import Head, fit_head
from genepool_client.consumer.descendant.load import empty, put_weights
from genepool_client.consumer.finetune import FinetuneRecipe
from genepool_client.simulate.episodes import Episode
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Accuracy on the query images: of a closed-form head on fixed features, and after a short fine-tuning."""

    before: float
    after: float | None


def before_and_after(
    blueprint: Blueprint, size: Size, weights: net.Weights, episode: Episode, steps: int
) -> BeforeAfter:
    """Accuracy before, and after `steps` steps of training everything on the support set (None for no steps)."""
    recipes = (FinetuneRecipe(steps=steps),) if steps else ()
    before, *after = accuracies(blueprint, size, weights, episode, recipes)
    return BeforeAfter(before, after[0] if after else None)


def accuracies(
    blueprint: Blueprint, size: Size, weights: net.Weights, episode: Episode, recipes: Sequence[FinetuneRecipe]
) -> list[float]:
    """Accuracy without fine-tuning, and after each recipe, every time from the start: each is a schedule of its own.

    Every starting point gets the same closed-form head, steps, batches and learning rates; the episode's draw is where
    the randomness of training starts.

    Args:
        blueprint: the family.
        size: of the net.
        weights: by timm's names, without head.
        episode: what it is trained and measured on.
        recipes: how long and how hard.

    Returns:
        One accuracy more than there are recipes.
    """
    head = fit_head(net.embed(blueprint, size, weights, episode.support).numpy(), episode.support_labels)
    return [
        _closed_form(blueprint, size, weights, head, episode),
        *(_tuned(blueprint, size, weights, head, episode, recipe) for recipe in recipes),
    ]


def _closed_form(blueprint: Blueprint, size: Size, weights: net.Weights, head: Head, episode: Episode) -> float:
    features = net.embed(blueprint, size, weights, episode.query)
    named = F.linear(features, from_numpy(head.weight), from_numpy(head.bias)).argmax(dim=1).numpy()
    return float((named == episode.query_labels).mean())


def _tuned(
    blueprint: Blueprint, size: Size, weights: net.Weights, head: Head, episode: Episode, recipe: FinetuneRecipe
) -> float:
    model = empty(blueprint, size, len(head.bias))
    put_weights(model, weights, head)
    own = replace(recipe, rng=episode.draw)
    finetune.train(model, blueprint, episode.support, episode.support_labels, own)
    return finetune.accuracy(model, blueprint, episode.query, episode.query_labels, recipe.device)
