"""What is matched: the domain embedding in a learngene and the task embedding of a support set, as numbers alone.

`genepool_protocol.selection.embedding` computes them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedding:
    """What is matched.

    Attributes:
        mean: of the standard features, float32 of shape (the blueprint's embedding width,).
        noise: standard deviation of the noise on every number; 0 for a task embedding.
    """

    mean: Vector
    noise: float = 0.0
