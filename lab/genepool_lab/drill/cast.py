"""Who plays, and what goes wrong: the same eight sites, images, steps and faults for every system."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from genepool_client.simulate import partition
from genepool_client.simulate.partition import Scenario

SITES: Final = 8
KILLED, OUTAGE, SLOW, GONE = range(4)
"""The sites that something happens to; the other four are the others, whose work must not be lost."""
OTHERS: Final = tuple(range(4, SITES))

BLUEPRINT: Final = "nano-32"
ROUNDS: Final = 3
STEPS: Final = 12
"""Training steps of a site: of its ancestry model, or over all rounds. Few: the drill is about what is lost."""
_SHARES: Final = 48
"""Sites that the sample pack is dealt out to, of which eight play: some hundred pictures each."""

AWAY: Final = 75.0
"""Seconds that the network is gone: six minutes, 4.8 times as fast. Longer than a heartbeat's patience, as six minutes
are: Flower takes a node for gone after sixty seconds."""
SLOWER: Final = 20.0
RESTART: Final = 2.0  # seconds until somebody starts again what was killed
LIMIT: Final = 420.0
"""Seconds after which a run that has not ended is ended, on two idle cores."""
DEADLINE: Final = 60.0
"""Seconds of a round with tolerant settings, on two idle cores."""
NEEDED: Final = 7

ROUND_STEPS: Final = ("read", "train", "send")
"""What a site does in a round of FedAvg; the killed one dies in another of them in every round."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where something happens in a round of FedAvg.

    Attributes:
        site: whose.
        number: of the round, from 1.
        step: one of `ROUND_STEPS`.
        kind: kill (and start again), gone (killed, and never again) or outage.
    """

    site: int
    number: int
    step: str
    kind: str


FAULTS: Final = (
    *(Fault(KILLED, number, step, "kill") for number, step in enumerate(ROUND_STEPS, 1)),
    Fault(OUTAGE, 1, "send", "outage"),
    Fault(GONE, 1, "train", "gone"),
)


@dataclass(slots=True)
class Drilled:
    """What one system came to.

    Attributes:
        system: its name.
        settings: in a sentence.
        outcome: completed, ended by the limit, or how it failed.
        seconds: until it ended.
        seven: seconds until seven sites' work was in what the server keeps; None: never.
        sites: places of the sites whose work is in it at the end.
        steps_done: training steps that the other sites finished.
        steps_kept: those of them that are in what the server keeps at the end.
        rounds: that were aggregated; 0 where there are none.
        weights: file of the net at the end, for `judge`; empty: none.
        notes: what happened.
    """

    system: str
    settings: str
    outcome: str = ""
    seconds: float = 0.0
    seven: float | None = None
    sites: tuple[int, ...] = ()
    steps_done: int = 0
    steps_kept: int = 0
    rounds: int = 0
    weights: str = ""
    notes: tuple[str, ...] = ()
    accuracy: dict[str, Any] | None = None

    @property
    def steps_lost(self) -> int:
        """Work of others that is lost."""
        return self.steps_done - self.steps_kept


def scenario(folder: Path) -> Scenario:
    """Eight sites of all six domains of the sample pack, with tasks that none of them has seen."""
    folder.mkdir(parents=True, exist_ok=True)
    dealt = partition.samples(folder, _SHARES)
    return Scenario(dealt.sites[:: _SHARES // SITES], dealt.tasks)
