"""Stage A: which learngenes are worth looking at, by the distance of their keys to the task's key."""

from collections.abc import Sequence
from dataclasses import dataclass

from genepool_protocol.selection.task_key import Key


@dataclass(frozen=True, slots=True)
class Member:
    """What stage A knows of a contribution."""

    contribution_id: str
    key: Key


def retrieve(task: Key, members: Sequence[Member], keep: int) -> list[tuple[str, float]]:
    """The `keep` nearest members as (contribution id, key distance), nearest first; ties go by id."""
    distances = [(member.contribution_id, task.distance(member.key)) for member in members]
    return sorted(distances, key=lambda pair: (round(pair[1], 6), pair[0]))[:keep]
