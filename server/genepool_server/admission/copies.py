"""Near copies: of active contributions, and of withdrawn ones, of which a pool keeps a sketch alone.

Who came first has the right: a copy is what resembles an earlier contribution of another site. Where the earliest
that resembles it is the site's own, later ones of others are the copies, and the operator is told of those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genepool_server.admission.screens import NEAR, NEAR_PRODUCTS, SLACK, Finding


@dataclass(frozen=True, slots=True)
class Sketch:
    """What can be compared of a learngene.

    Attributes:
        direction: of the learngene, shape (profile.WIDTH,).
        products: of its `profile.products`, shape (profile.WIDTH,).
    """

    direction: npt.NDArray[np.float64]
    products: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WithdrawnSketch:
    """A contribution that was withdrawn.

    Attributes:
        contribution_id: names it.
        own: whether it is of the same site as the contribution under review.
        index: of its leaf: who came first.
        by_operator: whether the operator withdrew it, and not its site.
        sketch: what is kept of it.
    """

    contribution_id: str
    own: bool
    index: int
    by_operator: bool
    sketch: Sketch


@dataclass(frozen=True, slots=True)
class Near:
    """A contribution that resembles the one under review.

    Attributes:
        contribution_id: names it.
        own: whether it is of the same site.
        index: of its leaf.
        plain: cosine of the two.
        disguised: cosine of their `products`.
        withdrawn: whether it was, so that both cosines are those of sketches.
        by_operator: whether the operator withdrew it.
    """

    contribution_id: str
    own: bool
    index: int
    plain: float
    disguised: float
    withdrawn: bool = False
    by_operator: bool = False

    @property
    def copy(self) -> bool:
        """Whether it is so near that one of the two is a copy."""
        return self.plain > NEAR or self.disguised > NEAR_PRODUCTS

    def __str__(self) -> str:
        which = f"the withdrawn contribution {self.contribution_id[:16]}" if self.withdrawn else ""
        which = which or f"contribution {self.contribution_id[:16]}"
        return (
            f"{which}: cosine {self.plain:.3f}, at most {NEAR:g} is fine; "
            f"of what heads and units compute {self.disguised:.3f}, at most {NEAR_PRODUCTS:g}"
        )


def near_withdrawn(mine: Sketch, withdrawn: Sequence[WithdrawnSketch]) -> list[Near]:
    """Withdrawn contributions that may resemble a learngene: by so much less as sketches may understate it."""
    if not withdrawn:
        return []
    plain = cosines(mine.direction, np.stack([gone.sketch.direction for gone in withdrawn]))
    disguised = cosines(mine.products, np.stack([gone.sketch.products for gone in withdrawn]))
    near = (plain > NEAR - SLACK) | (disguised > NEAR_PRODUCTS - SLACK)
    return [
        Near(
            gone.contribution_id,
            gone.own,
            gone.index,
            float(plain[place]),
            float(disguised[place]),
            withdrawn=True,
            by_operator=gone.by_operator,
        )
        for place, gone in enumerate(withdrawn)
        if near[place]
    ]


def findings(near: Sequence[Near]) -> Iterable[Finding]:
    """What becomes of a contribution, and of its later copies.

    Args:
        near: active ones that are copies, withdrawn ones that may be.
    """
    first = min(near, key=lambda other: other.index, default=None)
    for other in sorted(near, key=lambda other: other.index):
        if other.own and other.withdrawn:
            if other.by_operator:
                yield Finding("RETURNED", f"the operator withdrew what it is too much like: {other}")
        elif other.own:
            yield Finding("NEAR_COPY", f"it is too much like {other}")
        elif first is not None and first.own:
            if not other.withdrawn:
                yield Finding(
                    "FOREIGN_COPY", f"this site came first, another site has a later {other}", other.contribution_id
                )
        elif other.copy:
            yield Finding("NEAR_COPY", f"it is too much like {other}")
        else:
            yield Finding("RETURNED", f"it may be a copy of {other}")


def cosines(one: npt.NDArray[np.float64], many: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cosine of a vector with each row; 0 where one is zero."""
    scale = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.asarray((many @ one) / np.maximum(scale, 1e-12), dtype=np.float64)
