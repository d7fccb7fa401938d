"""The map's points: domain embeddings as selections read them, on a plane; made anew when contributions change."""

import tempfile
from pathlib import Path

import numpy as np

from genepool_server.dashboard.projection import Plane, plane
from genepool_server.records import Contribution, LoadedBlueprint
from genepool_server.serving import descend_request
from genepool_server.serving.embedding_table import EmbeddingTable


class Planes:
    """Planes by blueprint. For one thread.

    The tables are its own, so that no selection waits for a page.
    """

    def __init__(self) -> None:
        self._tables: dict[str, EmbeddingTable] = {}
        self._planes: dict[str, tuple[tuple[str, ...], Plane]] = {}

    def close(self) -> None:
        """Forget all of them."""
        for table in self._tables.values():
            table.close()
        self._tables, self._planes = {}, {}

    def of(self, loaded: LoadedBlueprint, members: list[Contribution]) -> Plane:
        """The domain embeddings of these contributions, in their order, on a plane.

        Raises:
            StorageError: BLOB_CORRUPT.
        """
        name, digests = loaded.blueprint.sha256, tuple(member.sha256 for member in members)
        known = self._planes.get(name)
        if known is not None and known[0] == digests:
            return known[1]
        if name not in self._tables:
            self._tables[name] = EmbeddingTable(loaded.blueprint, Path(tempfile.gettempdir()))
        table = self._tables[name]
        table.keep(set(digests))
        means = [embedding.mean for embedding in table.embeddings(map(descend_request.file_of, members))]
        drawn = plane(np.stack(means)) if means else Plane(np.zeros((0, 2)), (0.0, 0.0))
        self._planes[name] = digests, drawn
        return drawn
