"""The torch device that training runs on, as people name it."""

from typing import Final

import torch

from genepool_protocol.wire.errors import InvalidInput

DEVICES: Final = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> str:
    """The torch device of an option; `auto` is the fastest that there is.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present.get(name, False):
        raise InvalidInput(
            "OPTION_INVALID", f"the device {name!r} is not available here", f"choose one of: {', '.join(DEVICES)}"
        )
    return name
