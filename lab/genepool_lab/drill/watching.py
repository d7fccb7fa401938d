"""Lets the faults of the drill happen to the processes of a FedAvg system, and tells afterwards what it came to."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.roles.network import Network
from genepool_lab.benchmark import method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.drill import kept
from genepool_lab.drill.cast import AWAY, BLUEPRINT, FAULTS, NEEDED, OTHERS, RESTART, ROUNDS, STEPS, Drilled
from genepool_lab.drill.round import CAST, MARKS
from genepool_protocol.machine.processes import Child
from genepool_protocol.wire.errors import Unavailable


class OverTimeError(Exception):
    """The run has taken longer than the limit."""


@dataclass
class Nodes:
    """The sites' processes of a system, which can be killed and started again.

    Attributes:
        start_one: starts the process of a site.
        running: by place.
    """

    start_one: Callable[[int], Child]
    running: dict[int, Child] = field(default_factory=dict)

    def start(self, site: int) -> None:
        """Start a site's process."""
        self.running[site] = self.start_one(site)

    def kill(self, site: int) -> None:
        """Kill a site's process with all that it started, all at once."""
        child = self.running.pop(site)
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, 10)
        child.stop()

    def stop(self) -> None:
        """End all."""
        for site in list(self.running):
            self.kill(site)


class FaultWatch:
    """Looks at the marks, and does what is due.

    Args:
        folder: of the run.
        nodes: its processes.
        limit: seconds that the run may take.

    Attributes:
        network: of the site that loses it, once there is one.
        notes: what happened.
    """

    def __init__(self, folder: Path, nodes: Nodes, limit: float) -> None:
        self._folder, self._nodes, self.limit = folder, nodes, limit
        self.network: Network | None = None
        self._open = list(FAULTS)
        self._due: list[tuple[float, Callable[[], None], str]] = []
        self._began = time.time()
        self.notes: list[str] = []

    def look(self) -> None:
        """Once.

        Raises:
            OverTimeError: the run has had its time.
        """
        for due in [due for due in self._due if due[0] <= time.time()]:
            self._due.remove(due)
            due[1]()
            self._note(due[2])
        for fault in list(self._open):
            path = self._folder / MARKS / f"{fault.site}-{fault.number}-{fault.step}"
            if path.exists():
                self._open.remove(fault)
                self._happen(fault.site, fault.kind, f"at {fault.step} of round {fault.number}")
                path.with_suffix(".go").touch()
        if time.time() - began(self._folder, self._began) > self.limit:
            raise OverTimeError

    def _happen(self, site: int, kind: str, where: str) -> None:
        self._note(f"site {site}: {kind} {where}")
        if kind == "outage":
            assert self.network is not None  # noqa: S101 - nobody is at a step before there is one
            self.network.go_away()
            self._due.append((time.time() + AWAY, self.network.come_back, f"site {site}: its network is back"))
            return
        self._nodes.kill(site)
        if kind == "kill":
            self._due.append((time.time() + RESTART, lambda: self._nodes.start(site), f"site {site}: started again"))

    def _note(self, text: str) -> None:
        self.notes.append(f"{time.time() - began(self._folder, self._began):.0f} s: {text}")


def prepare(folder: Path, scenario: Scenario) -> None:
    """Make the folder of a run: who has which images, and the net that everybody starts from."""
    (folder / MARKS).mkdir(parents=True)
    (folder / CAST).write_text(json.dumps([str(site.folder) for site in scenario.sites]))
    weights = method.reference_weights(Lab(BLUEPRINT, folder / "store"))
    np.savez(folder / kept.START, allow_pickle=False, **{name: tensor.numpy() for name, tensor in weights.items()})


def began(folder: Path, otherwise: float) -> float:
    """When the system had all its sites."""
    return (folder / "began").stat().st_mtime if (folder / "began").exists() else otherwise


def run(folder: Path, watch: FaultWatch, play: Callable[[], None], system: str, settings: str) -> Drilled:
    """Play, and say what came of it.

    Args:
        folder: of the run.
        watch: lets the faults happen.
        play: returns when the system says that it has finished.
        system: its name.
        settings: in a sentence.
    """
    outcome, fallback = "completed", time.time()
    try:
        play()
    except OverTimeError:
        outcome = f"ended after {watch.limit:.0f} s, unfinished"
    except Unavailable as exc:
        outcome = f"failed: {exc.message}"
        watch.notes.append(exc.fix[-600:])
    start, rounds = began(folder, fallback), kept.read(folder)
    done = sum((folder / MARKS / f"{site}-{number}-done").exists() for site in OTHERS for number in _numbers())
    taken = sum(site in row.sites for row in rounds for site in OTHERS)
    each = STEPS // ROUNDS
    return Drilled(
        system=system,
        settings=settings,
        outcome=outcome,
        seconds=time.time() - start,
        seven=_seven(rounds, start),
        sites=tuple(sorted({site for row in rounds for site in row.sites})),
        steps_done=done * each,
        steps_kept=taken * each,
        rounds=len(rounds),
        weights=str(folder / kept.NET) if rounds else "",
        notes=tuple(watch.notes),
    )


def _numbers() -> range:
    return range(1, ROUNDS + 1)


def _seven(rounds: Sequence[kept.KeptRound], start: float) -> float | None:
    sites: set[int] = set()
    for row in rounds:
        sites |= set(row.sites)
        if len(sites) >= NEEDED:
            return row.moment - start
    return None
