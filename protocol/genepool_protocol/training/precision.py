"""In which arithmetic nets are trained; keys and scores are always float32."""

import torch

_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""Functions of `torch.cpu` that say whether a CPU multiplies bfloat16 natively; absent in some builds."""


def trains_in_bfloat16(device: str) -> bool:
    """Whether bfloat16 makes training faster there: only where the hardware multiplies it natively.

    Elsewhere it is emulated, at a fraction of float32's speed.
    """
    kind = device.split(":", 1)[0]
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = [getattr(torch.cpu, name, None) for name in _CHECKS]
    return kind == "cpu" and any(check() for check in checks if check is not None)


def training(device: str) -> torch.autocast:
    """A context for the forward pass of a training step: matrix products in bfloat16 where that is faster.

    Parameters, their gradients, the residual stream and the optimiser stay float32. On one core of a CPU with
    AVX512-BF16, a step of `nano-32` takes half the time; where there is none, this does nothing.
    """
    return torch.autocast(device.split(":", 1)[0], dtype=torch.bfloat16, enabled=trains_in_bfloat16(device))
