"""How long and how hard a site trains, as it suits its images and the blueprint."""

from dataclasses import dataclass, replace
from typing import Final

from genepool_protocol.learngene.blueprint import Blueprint

_REFERENCE_IMAGES: Final = 700
"""Images of the sites that the steps of `ancestry` and `condense` were measured on (decision 103)."""
_GROWTH: Final = 0.35
"""Power of the images that steps grow with: set, so that large sites kept their steps when small ones got more."""
_BOUNDS: Final = (0.3, 6.0)
"""Fewest and most steps, as a share of those for 700 images: set, so that any site ends in minutes; not measured."""

_ALL_STEPS_CLASSES: Final = 20
"""Classes from which all steps pay: 23 letters gained by twice the steps, 9 textures lost 0.9 points (decision 103)."""
_LEAST_STEPS: Final = 0.5
"""Share of the steps for few classes: with half of them 9 textures lost 1.7 points and not 2.6 (decision 103)."""

_NARROW: Final = 256
"""Width up to which recipes stay as they are: measured at 128 (`nano-32`) and 384 (`vit-s14`), nowhere between."""
_GENTLE: Final = 0.05
"""Factor of the rates of wide nets: sixty steps at 3e-4 destroyed `vit-s14`, at 1e-4 improved it (decision 56)."""


def scaled_steps(steps: int, images: int, classes: int) -> int:
    """Training steps for so many images and classes, when `steps` are right for 700 of twenty classes.

    They grow more slowly than the images, between 0.3 and 6 times `steps`: a site with 100 images sees each of them
    more often, one with 50,000 ends in minutes. Fewer classes get fewer, from half of the steps on: trained for longer,
    features keep little but what tells these classes apart, and that harms the others that a learngene is for.
    """
    low, high = _BOUNDS
    growth = float((images / _REFERENCE_IMAGES) ** _GROWTH)
    breadth = min(1.0, max(_LEAST_STEPS, classes / _ALL_STEPS_CLASSES))
    return max(1, round(steps * breadth * min(high, max(low, growth))))


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """How long and how hard to train.

    Attributes:
        steps: training steps.
        batch: images a step.
        lr: highest learning rate of matrices (Muon, in AdamW's units).
        plain_lr: highest learning rate of vectors and the stem (AdamW).
        head_lr: highest learning rate of the head (AdamW).
        decay: pull towards the start, per step and unit of learning rate.
        warmup: steps until the highest learning rates.
        patches: share of an image's patches that a step looks at, until `whole`.
        whole: share of the steps after which every patch is looked at.
        rng: where all randomness starts.
        device: a torch device.
        muon: whether Muon moves the matrices, or AdamW.
    """

    steps: int
    batch: int = 32
    lr: float = 2e-3
    plain_lr: float = 1e-3
    head_lr: float = 5e-3
    decay: float = 0.05
    warmup: int = 10
    patches: float = 0.5
    whole: float = 0.6
    rng: int = 0
    device: str = "cpu"
    muon: bool = True


def suited(blueprint: Blueprint, recipe: TrainRecipe) -> TrainRecipe:
    """The recipe as it suits the width of the net; recipes are written for narrow ones.

    At 384, Muon's own arithmetic costs more than the rest of a step, and a strong seed wants gentler rates and has
    less to learn.
    """
    if blueprint.width(blueprint.heads) <= _NARROW:
        return recipe
    gentle = replace(recipe, muon=False, lr=_GENTLE * recipe.lr, plain_lr=_GENTLE * recipe.plain_lr)
    return replace(gentle, steps=recipe.steps // 2)
