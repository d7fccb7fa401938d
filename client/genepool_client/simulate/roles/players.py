"""Plays the sites with roles: starts their processes, cuts their networks, and starts again what died.

Like the people at a site: whoever sees a process end without a receipt starts it anew, and it goes on where it was.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from genepool_client.simulate.pool_operator import PoolOperator
from genepool_client.simulate.roles.actor import GO, Disturbance
from genepool_client.simulate.roles.network import Network
from genepool_client.simulate.roles.script import Role
from genepool_client.site import credentials, enrolment, steps
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.channel import Connection
from genepool_protocol.machine.processes import Child
from genepool_protocol.wire.errors import Unavailable

_PAUSE: Final = 1.0  # seconds before a site's people start again what was killed
_LONGEST: Final = 30.0  # seconds between two tries while the pool is away
_STARTS: Final = 400
"""Processes of one site at most: then something else is wrong than what its role brings."""
_PASSING: Final = frozenset({"POOL_UNREACHABLE", "TOO_SLOW", "BUSY"})
"""What a site's people wait for and try again."""

_FIRST: Final = {"leak": ["leak"], "poison": ["poison"], "withdraw": ["contribute", "withdraw"]}
_REJOIN: Final = ["contribute", "withdraw", "enrol", "contribute"]


@dataclass(slots=True)
class Story:
    """What one site did, and what it cost.

    Attributes:
        role: what it played.
        events: what happened, in order, with the second at which it did.
        starts: processes that it took.
        cpu_seconds: of these.
        seconds: from the first start to the end.
        outcome: the last word: contributed, withdrawn, refused, gone.
    """

    role: Role
    events: list[str] = field(default_factory=list)
    starts: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    outcome: str = ""


class Player:
    """One site with a role.

    Args:
        folder: of the site, which has joined.
        role: what it plays.
        network: its own, where the role needs one.
        operator: of the pool, for a site that comes back with new keys.
    """

    def __init__(self, folder: Path, role: Role, network: Network | None, operator: PoolOperator) -> None:
        self._folder, self._role, self._network, self._operator = folder, role, network, operator
        self._acts = deque(_REJOIN if role.plays == "rejoin" else _FIRST.get(role.plays, ["contribute"]))
        self._dying = deque(role.stages if role.plays == "crash" else ())
        self._child: Child | None = None
        self._began = self._next = time.monotonic()
        self._back_at = 0.0
        self._spent = 0.0
        self._pause = _PAUSE
        self.story = Story(role)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return bool(self.story.outcome) and self._child is None

    def look(self) -> None:
        """See what has become of its process, and do what is next.

        Raises:
            Unavailable: SIMULATION_FAILED, it does not come to an end.
            GenepoolError: as enrolling.
        """
        if self._network and self._back_at and time.monotonic() >= self._back_at:
            self._back_at = 0.0
            self._network.come_back()
            self._note("the network is back")
        if self._child is None:
            if self._acts and not self.story.outcome and time.monotonic() >= self._next:
                self._act()
            return
        self._measure(self._child)
        told = _told(self._child.log)
        self._hold(told)
        if self._child.returncode is not None:
            self._finish(self._child, told)

    def stop(self) -> None:
        """End its process."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _act(self) -> None:
        if self._acts[0] == "enrol":
            self._enrol_again()
            self._acts.popleft()
            return
        self._began = self._began if self.story.starts else time.monotonic()
        self.story.starts += 1
        if self.story.starts > _STARTS:
            raise Unavailable("SIMULATION_FAILED", f"{self._folder.name} does not come to an end", str(self.story))
        disturbance = Disturbance(
            die=self._dying[0] if self._dying else "",
            hold=self._role.stages[0] if self._role.plays == "outage" else "",
            slower=self._role.slower if self._role.plays == "straggler" else 1.0,
        )
        log = self._folder.with_name(f"{self._folder.name}-{self.story.starts}.log")
        module = [sys.executable, "-m", "genepool_client.simulate.roles.actor"]
        command = [*module, str(self._folder), self._acts[0], json.dumps(asdict(disturbance))]
        self._child = Child(f"the site {self._folder.name}", command, log, env={}, cwd=self._folder.parent)
        self._spent = 0.0
        self._note(f"{self._acts[0]}: process {self.story.starts}")

    def _hold(self, told: Sequence[dict[str, Any]]) -> None:
        """Take the network away as soon as the site waits for it."""
        waits = self._network and any(line.get("stage") in self._role.stages for line in told)
        if waits and self._network and not (self._folder / GO).exists():
            self._network.go_away()
            self._back_at = time.monotonic() + self._role.seconds
            self._note(f"the network is gone for {self._role.seconds:g} s, at {self._role.stages[0]}")
            (self._folder / GO).touch()

    def _finish(self, child: Child, told: Sequence[dict[str, Any]]) -> None:
        killed = child.returncode is not None and child.returncode < 0
        child.stop()
        self._child, self._next = None, time.monotonic() + _PAUSE
        before, self._pause = self._pause, _PAUSE
        self.story.cpu_seconds += self._spent
        last: dict[str, Any] = told[-1] if told else {}
        if killed and self._dying:
            self._note(f"killed in the middle of {self._dying.popleft()}")
            if not self._role.back:
                self._end("gone")
        elif "ended" in last:
            self._acts.popleft()
            self._succeed(last["ended"])
        elif last.get("error") in _PASSING:
            self._pause = min(_LONGEST, 2 * before)
            self._next = time.monotonic() + before
            self._note(f"{last['error']}: it is started again in {before:g} s")
        elif "error" in last:
            self._end(f"refused: {last['error']}: {last['message']}")
        else:
            raise Unavailable("SIMULATION_FAILED", f"{child.name} ended with {child.returncode}", child.tail(30))

    def _succeed(self, told: dict[str, Any]) -> None:
        if "pool" in told:
            self._note(f"{told['tried']} bytes of images were to leave; Flower's guard: {told['flower']}")
            self._end(f"refused: {told['pool']}")
        elif "erased" in told:
            self._note("withdrawn, with the proof verified")
            if not self._acts:
                self._end("withdrawn")
        else:
            self._note(f"contributed {told['contribution_id'][:12]}")
            if not self._acts:
                self._end("contributed")

    def _enrol_again(self) -> None:
        """The keys are lost: a new invitation, new keys, and another training."""
        site = SiteFolder(self._folder)
        name = site.config.name
        invite = self._operator.invite(name, self._folder.with_name(f"again-{self._folder.name}.json"), again=True)
        enrolment.replace_invite(site, invite)
        with Connection(site.config.anchors, trust=site.trust) as connection:
            enrolled = enrolment.enrol(site, connection)
        self._operator.approve(name, enrolled.fingerprint)
        credentials.ready(site)
        trained, _ = steps.finished(site)
        site.change(steps=(trained.steps if trained else 0) + 1)
        self._note("enrolled anew, with other keys")

    def _measure(self, child: Child) -> None:
        try:
            times = psutil.Process(child.pid).cpu_times()
        except psutil.NoSuchProcess:
            return
        self._spent = times.user + times.system

    def _end(self, outcome: str) -> None:
        self._acts.clear()
        self.story.outcome, self.story.seconds = outcome, time.monotonic() - self._began
        self._note(outcome)

    def _note(self, text: str) -> None:
        self.story.events.append(f"{time.monotonic() - self._began:.0f} s: {text}")


class Players:
    """All sites with roles, a few at a time.

    Args:
        players: by their places.
        parallel: how many at a time.
    """

    def __init__(self, players: dict[int, Player], parallel: int) -> None:
        self._players, self._parallel = players, parallel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for player in self._players.values():
            player.stop()

    @property
    def left(self) -> int:
        """How many have not ended."""
        return sum(not player.ended for player in self._players.values())

    def look(self) -> None:
        """Look after those whose turn it is."""
        for player in [player for player in self._players.values() if not player.ended][: self._parallel]:
            player.look()

    def stories(self) -> dict[int, Story]:
        """What each did, by its place."""
        return {place: player.story for place, player in self._players.items()}


def _told(log: Path) -> list[dict[str, Any]]:
    """The lines that an actor wrote; others are warnings of its libraries."""
    out = []
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            try:
                out.append(json.loads(line))
            except ValueError:
                continue  # half of a line that is being written
    return out
