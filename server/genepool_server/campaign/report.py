"""The run report: one JSON file that is whole at every moment, with a line for each invited site."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genepool_server import durable
from genepool_server.campaign.claims import Outcome
from genepool_server.campaign.invitations import CampaignPlan, Node


class RunReport:
    """Collects outcomes, and writes them as they come.

    Args:
        run_id: Flower's.
        path: the file, or None to keep none.
    """

    def __init__(self, run_id: int, path: Path | None) -> None:
        self._path, self._run_id, self._started = path, run_id, time.time()
        self._outcomes: list[Outcome] = []
        self._invited = self.quorum = 0
        self._state = "waiting"

    @property
    def accepted(self) -> int:
        """Contributions that the pool confirmed."""
        return sum(outcome.result == "accepted" for outcome in self._outcomes)

    def begin(self, nodes: Sequence[Node], plan: CampaignPlan) -> None:
        """The sites that are there."""
        self._invited = len(nodes)
        self.quorum = plan.quorum or max(plan.min_nodes, len(nodes))
        self._state = "running"
        self._write()

    def add(self, outcome: Outcome) -> None:
        """What became of one invitation."""
        self._outcomes.append(outcome)
        self._write()

    def end(self) -> None:
        """Everything that can come has come."""
        self._state = "completed" if self.accepted >= self.quorum else "quorum missed"
        self._write()

    def value(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "run_id": str(self._run_id),
            "state": self._state,
            "seconds": round(time.time() - self._started, 1),
            "invited": self._invited,
            "quorum": self.quorum,
            "accepted": self.accepted,
            "sites": [asdict(outcome) for outcome in self._outcomes],
        }

    def _write(self) -> None:
        if self._path is not None:
            durable.write(self._path, json.dumps(self.value(), indent=2).encode() + b"\n", 0o644)
