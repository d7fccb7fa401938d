"""Whose domain embedding is too like another site's: noise that two sites drew apart does not meet.

The difference of two noised embeddings holds the difference of two independent draws, whatever the images: its length
is that of noise with the two variances added, or more. Shorter is one honest pair in `privacy.FALSE_REFUSALS`. Whose of
the two was copied cannot be told, and a site that comes back after a withdrawal would meet its own copy: so the
operator decides, and who was there before is left alone.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene import privacy
from genepool_server.admission.screens import Finding

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StatedEmbedding:
    """A domain embedding as a contribution states it.

    Attributes:
        contribution_id: names the contribution.
        site: whose.
        mean: float32, shape (embedding width,).
        sigma: standard deviation of the noise that is claimed to be in each number.
    """

    contribution_id: str
    site: str
    mean: Vector
    sigma: float


def sigma_of(manifest: bytes) -> float:
    """The noise that an accepted manifest states."""
    return float(json.loads(manifest)["privacy"]["key"]["sigma"])


def copies(mine: StatedEmbedding, others: Sequence[StatedEmbedding]) -> Iterable[Finding]:
    """Embeddings of other sites that are nearer than two draws of noise can be; the nearest one is named.

    Args:
        mine: of the contribution under review.
        others: of what is active, of whatever site.
    """
    foreign = [other for other in others if other.site != mine.site]
    if not foreign:
        return
    least, _ = privacy.noise_lengths(len(mine.mean))
    means = np.stack([other.mean for other in foreign]).astype(np.float64)
    apart = np.sqrt(np.mean((means - mine.mean) ** 2, axis=1))
    noise = np.array([math.hypot(mine.sigma, other.sigma) for other in foreign])
    worst = int((apart / noise).argmin())
    if apart[worst] < least * noise[worst]:
        yield Finding(
            "EMBEDDING_COPY",
            f"its domain embedding is {apart[worst]:.3g} from contribution {foreign[worst].contribution_id[:16]}'s, "
            f"of another site; noise that two sites drew keeps them {least * noise[worst]:.3g} apart",
        )
