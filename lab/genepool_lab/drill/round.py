"""One round of FedAvg at one site: python -m genepool_lab.drill.round FOLDER SITE ROUND IN OUT.

FOLDER is the run's: `cast.json` says where each site's images are, `marks/` is where a site says at which step it is
and waits for `go` where a fault is due. IN and OUT are .npz files with the common net by timm's names.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from genepool_client.pictures.images import load_images
from genepool_client.training.recipe import TrainRecipe
from genepool_lab.benchmark import method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.drill.cast import BLUEPRINT, FAULTS, ROUNDS, SLOW, SLOWER, STEPS

CAST: Final = "cast.json"
MARKS: Final = "marks"
_WAIT: Final = 0.05  # seconds


def mark(folder: Path, site: int, number: int, step: str) -> None:
    """Say that a site is at a step; where a fault is due, wait until whoever watches has let it happen."""
    path = folder / MARKS / f"{site}-{number}-{step}"
    path.touch()
    if any((fault.site, fault.number, fault.step) == (site, number, step) for fault in FAULTS):
        while not path.with_suffix(".go").exists():
            time.sleep(_WAIT)


def take_part(folder: Path, site: int, number: int, body: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Train the common net on the site's images for a round.

    Returns:
        The net, and how many images it saw.
    """
    torch.set_num_threads(1)
    began = time.process_time()  # its own: on a busy machine it is no slower for that
    mark(folder, site, number, "read")
    lab = Lab(BLUEPRINT, folder / "store")
    images = load_images(Path(json.loads((folder / CAST).read_text())[site]), lab.blueprint.image)
    mark(folder, site, number, "train")
    own = folder / f"site-{site}"
    own.mkdir(exist_ok=True)
    (own / "round.pt").unlink(missing_ok=True)  # of a round that was killed
    weights, head = method.train_round(
        lab, _tensors(body), _head(lab, own, len(images.classes)), images, _recipe(), own
    )
    np.savez(own / "head.npz", allow_pickle=False, **{name: tensor.numpy() for name, tensor in head.items()})
    if site == SLOW:
        time.sleep((SLOWER - 1) * (time.process_time() - began))
    (folder / MARKS / f"{site}-{number}-done").touch()
    mark(folder, site, number, "send")
    return {name: tensor.numpy() for name, tensor in weights.items()}, len(images.labels)


def _recipe() -> TrainRecipe:
    return TrainRecipe(steps=STEPS // ROUNDS, warmup=2)


def _head(lab: Lab, own: Path, classes: int) -> dict[str, torch.Tensor]:
    if (own / "head.npz").exists():
        with np.load(own / "head.npz") as archive:
            return _tensors(dict(archive))
    width = lab.blueprint.width(lab.blueprint.heads)
    return {"head.weight": torch.zeros(classes, width), "head.bias": torch.zeros(classes)}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def main(arguments: list[str]) -> None:
    """See the module."""
    folder, site, number, source, target = arguments
    with np.load(source) as archive:
        body: dict[str, Any] = dict(archive)
    weights, images = take_part(Path(folder), int(site), int(number), body)
    np.savez(target, allow_pickle=False, images=images, **weights)


if __name__ == "__main__":
    main(sys.argv[1:])
