"""What a worker is asked for. Who only hands it on needs no torch, so it is not beside the `Worker`."""

from dataclasses import dataclass

from genepool_protocol.learngene.size import Size
from genepool_protocol.selection.support import Labels
from genepool_server.serving.library import Family, StoredFile
from genepool_server.serving.shared_images import SharedPixels


@dataclass(frozen=True, slots=True)
class WorkerSupport:
    """One consumer's support set, alive for one call.

    Attributes:
        family: the blueprint that it is matched against.
        pixels: uint8, shape (N, image, image, 3); they lie where the server overwrites them when the call ends.
        labels: shape (N,), or None.
    """

    family: Family
    pixels: SharedPixels
    labels: Labels | None


Job = tuple[tuple[StoredFile, int], ...]
"""One mixture to score: (file, weight in thousandths), sorted by contribution id; empty is the seed."""


@dataclass(frozen=True, slots=True)
class Build:
    """One descendant to build: the family, the size, the members sorted by contribution id, and the slot to fill."""

    family: Family
    size: Size
    members: Job
    slot: str
    slot_bytes: int
