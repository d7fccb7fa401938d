"""How a pool serves, in one frozen value."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """The settings of serving.

    Attributes:
        workers: worker processes; 0 serves inside the front's own process, without Ray (small machines, tests).
        score_threads: candidates that one worker scores at the same time.
        slots: descendants that are built or streamed at the same time.
        object_store_bytes: bytes of Ray's object store, which needs some though nothing of ours is kept in it.
        temp_dir: where Ray's private folder goes; a short path, because it holds sockets. None: the system's.
        max_concurrent_selects: selections that run at the same time.
        select_seconds: how long one selection may be at work.
        queue: requests of each kind that may wait for their turn; one more is refused as BUSY.
        queue_each: how many of them may be one peer's.
        mapped_files: learngenes that one process keeps mapped.
        stall_seconds: a consumer that takes no chunk for so long loses its slot.
        start_seconds: how long Ray and the workers may take to start.
    """

    workers: int = 1
    score_threads: int = 2
    slots: int = 2
    object_store_bytes: int = 80 << 20
    temp_dir: Path | None = None
    max_concurrent_selects: int = 2
    select_seconds: float = 120.0
    queue: int = 32
    queue_each: int = 8
    mapped_files: int = 256
    stall_seconds: float = 30.0
    start_seconds: float = 120.0
