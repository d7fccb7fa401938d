"""What a pool keeps of weights that were withdrawn, so that they do not come back: a sealed sketch of each."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.wire.errors import GenepoolError, StorageError, Unavailable
from genepool_server.admission import profile
from genepool_server.admission.company import Company
from genepool_server.admission.copies import Sketch, WithdrawnSketch
from genepool_server.pool.rows import sketch_rows
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.records import Contribution, LoadedBlueprint

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sketcher:
    """Makes sealed sketches, and opens them.

    Attributes:
        secret: the pool's.
        blobs: where weights are read.
        blueprints: of which they are.
    """

    secret: ReviewSecret
    blobs: Blobs
    blueprints: Sequence[LoadedBlueprint]

    def sealed(self, found: Contribution) -> bytes | None:
        """The sealed sketch of a contribution; None when its weights cannot be read now."""
        try:
            return self._sealed(found)
        except (GenepoolError, OSError) as exc:
            _log.warning("the weights of %s cannot be read for a sketch: %s", found.contribution_id[:16], exc)
            return None

    def last(self, found: Contribution) -> bytes:
        """The same, just before the weights are erased; empty when they are damaged or gone already.

        Raises:
            Unavailable: STORE_UNAVAILABLE, try again.
            StorageError: DISK_FULL or DISK_FAILED, try again.
        """
        try:
            return self._sealed(found)
        except Unavailable:
            raise
        except GenepoolError as exc:
            if isinstance(exc, StorageError) and exc.reason != "BLOB_CORRUPT":
                raise
            _log.warning("no sketch of %s is kept: %s", found.contribution_id[:16], exc.message)
            return b""

    def _sealed(self, found: Contribution) -> bytes:
        blueprint = next(
            loaded.blueprint for loaded in self.blueprints if loaded.blueprint.sha256 == found.blueprint_sha256
        )
        flat = TensorFile(self.blobs.local(found.sha256)).flat(profile.layout_of(blueprint)).astype(np.float32)
        whole = profile.profile(blueprint, flat, self.secret.salt)
        sketch = Sketch(_unit(whole.direction), _unit(whole.products))
        return self.secret.seal(found.contribution_id, sketch)

    def company(self, tx: Connection, found: Contribution, active: Sequence[Contribution]) -> Company:
        """What a contribution is reviewed against.

        Args:
            tx: in which sketches are read.
            found: the contribution.
            active: every active one of its blueprint.

        Raises:
            StorageError: LEDGER_INCONSISTENT, a sketch does not open.
        """
        judging = sorted(
            active, key=lambda one: (self.secret.rank(found.site, one.site, one.contribution_id), one.contribution_id)
        )
        gone = [
            WithdrawnSketch(
                row.contribution_id,
                row.site == found.site,
                row.log_index,
                bool(row.by_operator),
                self.secret.open(row.contribution_id, row.sealed),
            )
            for row in sketch_rows.of_blueprint(tx, found.blueprint_sha256)
        ]
        return Company(judging, gone, self.secret.salt)

    def keep(self, tx: Connection, contribution_id: str, sealed: bytes, *, by_operator: bool) -> None:
        """Store a sealed sketch, once."""
        sketch_rows.add(tx, contribution_id, sealed, by_operator=by_operator)


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A vector of length one: how long weights were is not kept."""
    norm = np.linalg.norm(values)
    return values / norm if norm > 0 else values
