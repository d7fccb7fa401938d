"""Stage A: which learngenes are worth looking at, by the distance of their domain embeddings to the task's.

The distance is the root mean square of the difference of two embeddings, whose features the blueprint has put into
units of how much they vary within a set of public images. So it does not depend on who else is in the pool, and nothing
that a site says of itself shortens it: noise that a site claims makes it farther, never nearer, so that overstating it
gains nothing. What that costs small sites is measured by `python -m tests.benchmarks.embeddings`.

A site has one place: its nearest learngene's. Of equally near ones the one that the log had first comes first, since an
id can be searched for that sorts before another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from genepool_protocol.learngene.embedding import Embedding

_PLACES: Final = 6


@dataclass(frozen=True, slots=True)
class Member:
    """What stage A knows of a contribution.

    Attributes:
        contribution_id: names it.
        embedding: its domain embedding.
        site: who made it; empty: somebody of whom nothing else is known.
        log_index: of its leaf.
    """

    contribution_id: str
    embedding: Embedding
    site: str = ""
    log_index: int = 0


def retrieve(task: Embedding, members: Sequence[Member], keep: int) -> list[tuple[str, float]]:
    """The `keep` nearest members of different sites as (contribution id, distance), nearest first.

    Args:
        task: the task embedding.
        members: at least one.
        keep: how many at most.
    """
    means = np.stack([member.embedding.mean for member in members]).astype(np.float64)
    distances = np.sqrt(np.mean((means - task.mean) ** 2, axis=1)).tolist()
    ranked = sorted(
        zip(members, distances, strict=True),
        key=lambda pair: (round(pair[1], _PLACES), pair[0].log_index, pair[0].contribution_id),
    )
    nearest: dict[str, tuple[str, float]] = {}
    for member, distance in ranked:
        nearest.setdefault(
            f"site {member.site}" if member.site else member.contribution_id, (member.contribution_id, distance)
        )
    return list(nearest.values())[:keep]
