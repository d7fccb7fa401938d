"""Runs FedAvg on Flower's simulation engine: the column that a pool must be worth beside."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np

from genepool_client.simulate.fleet import Fleet
from genepool_client.training.recipe import TrainRecipe
from genepool_lab.benchmark import fedavg_app, method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.store import code_digest, content_key
from genepool_lab.benchmark.trainings import Train
from genepool_protocol.progress import Progress
from genepool_protocol.wire.errors import Unavailable

_ATTEMPTS: Final = 3
"""Ray gives the agent that it starts thirty seconds, and on a busy machine that is too little; rounds are kept."""


def federated(lab: Lab, sites: Sequence[Train], rounds: int, processes: int, progress: Progress) -> str:
    """The key of what FedAvg came to over these sites, as the difference from the seed with all components.

    Every site takes as many steps as for its ancestry model, spread over the rounds.

    Raises:
        Unavailable: SIMULATION_FAILED.
    """
    key = content_key(
        "fedavg", sites=[site.key for site in sites], rounds=rounds, code=[method.TRAIN_CODE, code_digest(fedavg_app)]
    )
    if lab.store.has(key):
        return key
    work = lab.store.work(key).absolute()
    (work / "sites").mkdir(exist_ok=True)
    order = {
        "blueprint": lab.name,
        "store": str(lab.root.absolute()),
        "rounds": rounds,
        "sites": [{"data": site.data, "recipe": asdict(_of_a_round(site, rounds))} for site in sites],
    }
    (work / "sites" / fedavg_app.ORDER).write_text(json.dumps(order))
    _run(work, len(sites), rounds, processes, progress)
    with np.load(work / "sites" / fedavg_app.SAVED) as archive:
        if int(archive["round"]) != rounds:
            raise Unavailable(
                "SIMULATION_FAILED", f"FedAvg ended after round {int(archive['round'])} of {rounds}", f"see {work}"
            )
        delta = method.as_gene(lab, {name: archive[name] for name in archive.files if name != "round"})
    lab.store.put(key, {"rounds": rounds}, {"delta": delta})
    return key


def _of_a_round(site: Train, rounds: int) -> TrainRecipe:
    steps = max(1, round(site.train.steps / rounds))
    return replace(site.train, steps=steps, warmup=min(site.train.warmup, max(1, steps // 4)))


def _run(work: Path, sites: int, rounds: int, processes: int, progress: Progress) -> None:
    saved = work / "sites" / fedavg_app.SAVED

    def watch() -> None:
        finished = 0
        if saved.exists():
            with np.load(saved) as archive:
                finished = int(archive["round"])
        progress(finished, rounds, f"round {finished} of {rounds}")

    for attempt in range(1, _ATTEMPTS + 1):
        fleet = Fleet(work / "flower", work / "sites", {})
        try:
            fleet.run(Path(__file__).parent / "fedavg", sites, processes, {}, watch)
        except Unavailable:
            if attempt == _ATTEMPTS:
                raise
            progress(0, rounds, f"Flower's simulation failed, attempt {attempt + 1} of {_ATTEMPTS}")
        else:
            return
        finally:
            fleet.stop()
