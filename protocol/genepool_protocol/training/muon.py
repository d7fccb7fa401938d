"""Muon (Jordan et al. 2024) in the arithmetic that suits the hardware; everything that is no matrix by NAdamW.

timm's Muon, which orthogonalises in bfloat16 wherever it runs. Most CPUs only emulate that: on a core without
AVX512-BF16 the matrices of `nano-32` then take over a second a step, sixteen times as long as in float32.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import torch
from timm.optim import muon

from genepool_protocol.training import precision

_MOMENTUM: Final = 0.95
_QUINTIC: Final = [
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
]
"""Coefficients of each Newton-Schulz iteration, those that timm takes by default."""


class Muon(muon.Muon):  # type: ignore[misc]
    """An optimiser whose groups are Muon's unless they say `use_fallback`.

    Args:
        groups: `params`, `lr`, `use_fallback`; Muon's hold matrices only.
        weight_decay: decoupled, per unit of learning rate.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], weight_decay: float = 0.0) -> None:
        super().__init__(groups, weight_decay=weight_decay, momentum=_MOMENTUM, nesterov=True, betas=(0.9, 0.98))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move matrices, then the rest."""
        for group in self.param_groups:
            if not group.get("use_fallback"):
                self._move(group)
        super().step(closure)

    def _move(self, group: dict[str, Any]) -> None:
        """Matrices of one shape together; timm passes over them, because their gradients are used up."""
        alike = defaultdict[torch.Size, list[torch.Tensor]](list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape].append(matrix)
        for shape, matrices in alike.items():
            updates = torch.stack([self._update(matrix) for matrix in matrices])
            turned = orthogonalised(updates).to(matrices[0].dtype)
            scale = group["lr"] * muon.get_lr_scale(shape)
            for matrix, towards in zip(matrices, turned.unbind(), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(towards, alpha=scale)
                matrix.grad = None

    def _update(self, matrix: torch.Tensor) -> torch.Tensor:
        state, gradient = self.state[matrix], matrix.grad
        assert gradient is not None  # noqa: S101 - chosen for having one
        if "momentum_buffer" not in state:
            state.update(use_muon=True, momentum_buffer=torch.zeros_like(matrix))
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM)


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, roughly: five Newton-Schulz iterations.

    Args:
        matrices: shape (N, rows, columns).
    """
    fast = precision.trains_in_bfloat16(str(matrices.device))
    result: torch.Tensor = muon.zeropower_via_newtonschulz(
        matrices, len(_QUINTIC), _QUINTIC, dtype=torch.bfloat16 if fast else torch.float32
    )
    return result
