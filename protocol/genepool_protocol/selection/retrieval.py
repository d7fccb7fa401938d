"""Stage A: which learngenes are worth looking at, by the distance of their keys to the task's key.

The distance is between mean features, each in units of how much it varies within a site: the median of the members'
standard deviations, so that no single member can stretch the scale. A support set has too few images for its own
deviations to count. With the seed that ships, the nearest key was the right site's in all of thirty support sets of the
sample pack, half of them with one image a class. The distance and the key's size were chosen on that very pack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from genepool_protocol.selection.task_key import Key

FAR: Final = 0.92
"""Beyond this distance a task is like no site. Tasks of a site's kind are 0.4 to 0.8 from it; of the unrelated ones
that were tried, those beyond it lost up to five points by the nearest learngene, or gained one at most."""


@dataclass(frozen=True, slots=True)
class Member:
    """What stage A knows of a contribution."""

    contribution_id: str
    key: Key


def retrieve(task: Key, members: Sequence[Member], keep: int) -> list[tuple[str, float]]:
    """The `keep` nearest members as (contribution id, key distance), nearest first; ties go by id.

    Args:
        task: the support set's key.
        members: at least one.
        keep: how many at most.
    """
    means = np.stack([member.key.mean for member in members]).astype(np.float64)
    distances = np.sqrt(np.mean((means - task.mean) ** 2, axis=1))
    found = [(member.contribution_id, float(distance)) for member, distance in zip(members, distances, strict=True)]
    return sorted(found, key=lambda pair: (round(pair[1], 6), pair[0]))[:keep]
