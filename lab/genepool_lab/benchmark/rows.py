"""What a benchmark measured, and the names of its columns and tables."""

from dataclasses import dataclass
from typing import Final

SCRATCH: Final = "scratch"
SEED: Final = "seed"
SELECTION: Final = "weight selection"
SOUP: Final = "uniform soup"
RANDOM_MEMBER: Final = "random member"
RANDOM_POOL: Final = "random-weights pool"
SHUFFLED: Final = "shuffled coefficients"
FEDAVG: Final = "FedAvg"
JOINT: Final = "joint training"
BY_EMBEDDING: Final = "best single by embedding"
LOGME: Final = "LogME top-1"
KNN: Final = "k-NN top-1"
GRADIENT_FREE: Final = "gradient-free weights"
TALS: Final = "TALS"
ORACLE: Final = "oracle single, per episode"
ORACLE_TASK: Final = "oracle single, per task"
OWN: Final = "the site's own learngene"
DIRECT: Final = "distilled directly"
RESIDUAL: Final = "sequential pool, TALS"
RESIDUAL_SUM: Final = "sequential pool, whole sum"

COLUMNS: Final = (
    SCRATCH, SEED, SELECTION, SOUP, RANDOM_MEMBER, RANDOM_POOL, SHUFFLED, FEDAVG, JOINT,
    BY_EMBEDDING, LOGME, KNN, GRADIENT_FREE, TALS, ORACLE, ORACLE_TASK,
)  # fmt: skip
"""Of the main table, in order."""
TUNED: Final = (SCRATCH, SEED, SOUP, FEDAVG, JOINT, BY_EMBEDDING, TALS, ORACLE_TASK)
"""Of the table of epochs."""

MAIN: Final = "main"
EPOCHS: Final = "epochs"
SIZES: Final = "sizes"
GROWTH: Final = "growth"
SEQUENTIAL: Final = "sequential"


@dataclass(frozen=True, slots=True)
class Row:
    """One accuracy.

    Attributes:
        table: which table it belongs to.
        task: its name.
        kind: of the task.
        draw: of the episode.
        shots: labelled images a class.
        column: what the net started from.
        size: of the net, `DEPTH,HEADS`.
        epochs: of fine-tuning.
        accuracy: on the test images.
    """

    table: str
    task: str
    kind: str
    draw: int
    shots: int
    column: str
    size: str
    epochs: int
    accuracy: float
