"""How a seed is baked: from random numbers, or gently from a published net."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BakeRecipe:
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


GENTLE: Final = BakeRecipe(
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
