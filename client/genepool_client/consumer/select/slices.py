"""Thin slices of learngenes at home: fetched once from the pool, checked, kept in the cache by contribution id."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.private_files import private_folder
from genepool_protocol.selection import net
from genepool_protocol.trust import digest
from genepool_protocol.v1 import consume_pb2
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Unavailable
from genepool_protocol.wire.limits import LIMITS

_ROOM: Final = 1 << 30
"""Bytes of slices of one pool and blueprint that stay in the cache."""


class Slices:
    """The thin slices of one blueprint.

    Args:
        connection: where missing ones come from.
        blueprint: the family.
    """

    def __init__(self, connection: Connection, blueprint: Blueprint) -> None:
        self._connection = connection
        self._blueprint = blueprint
        self._layout = expansion.gene_layout(blueprint, blueprint.components, blueprint.score.heads)
        self._folder = connection.cache / "thin" / connection.anchors.root_sha256[:16] / blueprint.sha256
        self._loaded: dict[str, net.Weights] = {}

    def __getitem__(self, contribution_id: str) -> net.Weights:
        return self._loaded[contribution_id]

    def tidy(self, listed: Collection[str]) -> None:
        """Remove from the cache what the pool does not list any more, and beyond 1 GiB what was unused the longest.

        Args:
            listed: ids of all active contributions.
        """
        files: list[tuple[int, int, Path]] = []
        for path in self._folder.glob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):  # another process may tidy up, too
                if path.name.partition("-")[0] in listed:
                    status = path.stat()
                    files.append((status.st_mtime_ns, status.st_size, path))
                else:
                    path.unlink()
        left = _ROOM
        for _, size, path in sorted(files, reverse=True):
            left -= size
            if left < 0:
                path.unlink(missing_ok=True)

    def ensure(self, ids: Iterable[str], progress: Callable[[int, int], None]) -> None:
        """Have these slices in memory: from the cache where they are, else from the pool.

        Args:
            ids: of contributions.
            progress: called with (slices fetched, slices to fetch).

        Raises:
            InvalidInput: SAFETENSORS_MALFORMED, ARCH_MISMATCH or NON_FINITE, the pool sent no thin slice.
            GenepoolError: as `Connection.stream`.
        """
        missing = []
        for name in sorted(set(ids) - set(self._loaded)):
            cached = self._cached(name)
            if cached is None:
                missing.append(name)
            else:
                self._loaded[name] = cached
        for start in range(0, len(missing), LIMITS.short_list):
            for count, (name, raw) in enumerate(self._fetch(missing[start : start + LIMITS.short_list]), start + 1):
                self._loaded[name] = self._keep(name, raw)
                progress(count, len(missing))

    def _cached(self, name: str) -> net.Weights | None:
        for path in self._folder.glob(f"{name}-*.safetensors"):
            with contextlib.suppress(InvalidInput, FileNotFoundError):
                if path.stem.partition("-")[2] == digest.sha256_file(path):
                    path.touch()
                    return self._read(path)
            path.unlink(missing_ok=True)
        return None

    def _keep(self, name: str, raw: bytes) -> net.Weights:
        private_folder(self._folder)
        path = write_atomic(self._folder / f"{name}-{digest.sha256_hex(raw)}.safetensors", raw)
        try:
            return self._read(path)
        except InvalidInput:
            path.unlink()
            raise

    def _read(self, path: Path) -> net.Weights:
        file = TensorFile(path, LIMITS.learngene_bytes)
        if file.header.layout != self._layout:
            raise InvalidInput("ARCH_MISMATCH", "the pool sent a thin slice that is not of the blueprint")
        arrays = file.all()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InvalidInput("NON_FINITE", "the pool sent a thin slice that holds a number that is not finite")
        return net.as_tensors(arrays)

    def _fetch(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if not ids:
            return
        largest = 8 + LIMITS.header_bytes + 4 * algebra.elements(self._layout)
        request = consume_pb2.GetThinRequest(blueprint=self._blueprint.name, contribution_ids=ids)
        waiting, raw = list(ids), bytearray()
        with contextlib.closing(self._connection.stream(self._connection.select.GetThin, request)) as parts:
            for part in parts:
                if not raw and (not waiting or part.contribution_id != waiting[0]):
                    raise GenepoolError("INTERNAL", "the pool sent another thin slice than was asked for", "try again")
                raw += part.chunk
                if len(raw) > largest:
                    raise InvalidInput("ARCH_MISMATCH", "the pool sent a thin slice that is too long", "try again")
                if part.last:
                    yield waiting.pop(0), bytes(raw)
                    raw = bytearray()
        if waiting:
            raise Unavailable("POOL_UNREACHABLE", "the pool ended a download of thin slices early", "try again")
