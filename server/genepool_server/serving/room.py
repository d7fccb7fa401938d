"""Shared memory, compared with what serving needs before anything is started: a Ray that runs out of it dies of it."""

import shutil
from pathlib import Path
from typing import Final

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.wire.errors import StorageError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.serving.config import ServingConfig

_MARGIN: Final = 4 << 20
"""Bytes for what other programs of the machine put there."""


def check(folder: Path, needed: int) -> None:
    """Refuse to start where the shared memory is too small.

    Args:
        folder: of the memory file system.
        needed: bytes, beside what is taken already.

    Raises:
        StorageError: DISK_FULL.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            "DISK_FULL",
            f"{folder} has {free >> 20} MiB of shared memory free, and Ray and the images of consumers need "
            f"{-(-needed >> 20)} MiB",
            "give the machine more (docker run --shm-size=1g), or serve without Ray (workers = 0)",
        )


def needed(config: ServingConfig, largest: Blueprint | None) -> int:
    """Bytes of shared memory for Ray's store and for the images of the selections that run at the same time."""
    images = 3 * largest.image**2 * LIMITS.support_images if largest is not None else 0
    return config.object_store_bytes + config.max_concurrent_selects * images + _MARGIN
