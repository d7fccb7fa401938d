"""Early stopping: which step of a training made the fewest errors on held-out images."""

import math
from dataclasses import dataclass, field
from typing import Final

import torch

_PATIENCE: Final = 2
"""Checks with more errors than the fewest, after which training ends."""


@dataclass(slots=True)
class Best:
    """The fewest errors on held-out images so far; of equals, the latest, which was trained at the lowest rates.

    Attributes:
        errors: their share; infinite before the first check.
        params: those that made them.
        waited: checks since then.
    """

    errors: float = math.inf
    params: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    waited: int = 0

    @property
    def over(self) -> bool:
        """Whether training should end."""
        return self.waited >= _PATIENCE

    def look(self, errors: float, params: dict[str, torch.Tensor]) -> None:
        """Take in a check."""
        if errors <= self.errors:
            self.errors, self.waited = errors, 0
            self.params = {name: tensor.detach().clone() for name, tensor in params.items()}
        else:
            self.waited += 1
