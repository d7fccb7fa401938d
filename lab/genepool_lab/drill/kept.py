"""What a FedAvg server keeps of each round, in files of the run's folder; with numpy alone, for NVFlare's Python."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

LINES: Final = "rounds.jsonl"
START: Final = "start.npz"
NET: Final = "net.npz"


@dataclass(frozen=True, slots=True)
class KeptRound:
    """One round.

    Attributes:
        number: from 1.
        sites: whose work was averaged.
        moment: seconds of the wall clock.
    """

    number: int
    sites: tuple[int, ...]
    moment: float


def start(folder: Path) -> dict[str, np.ndarray]:
    """The net that everybody starts from."""
    with np.load(folder / START) as archive:
        return dict(archive)


def keep(folder: Path, number: int, sites: Sequence[int], net: Mapping[str, np.ndarray]) -> None:
    """Write what a round came to; the net replaces that of the round before."""
    with (folder / f"{NET}.tmp").open("wb") as file:
        np.savez(file, allow_pickle=False, **net)
    (folder / f"{NET}.tmp").replace(folder / NET)
    with (folder / LINES).open("a") as lines:
        lines.write(json.dumps({"number": number, "sites": sorted(sites), "moment": time.time()}) + "\n")


def read(folder: Path) -> list[KeptRound]:
    """All rounds that were kept."""
    path = folder / LINES
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        KeptRound(row["number"], tuple(row["sites"]), row["moment"]) for row in map(json.loads, lines) if row["sites"]
    ]
