"""A descendant's bytes from the pool into a folder: resumed where they broke off, bounded by what was announced."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from genepool_client.consumer.descendant.staging import storage_errors
from genepool_client.transport.causes import PASSING
from genepool_client.transport.channel import Connection, pause_after
from genepool_client.transport.durable import write_atomic
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.private_files import append_own
from genepool_protocol.progress import Progress
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.v1 import consume_pb2, types_pb2
from genepool_protocol.wire.errors import GenepoolError, Refused, Unavailable, VerificationError

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each new try after a connection broke; a try that brought bytes starts the row again."""
_PASSING: Final = PASSING | {"TOO_SLOW", "BUSY", "SERVING_UNAVAILABLE", "RATE_EXCEEDED"}
_DOCUMENTS_BYTES: Final = descendant.RECEIPTS_BYTES + (1 << 20)
_DOCUMENTS: Final = ({*descendant.SIGNED} - {descendant.MODEL_FILE}) | {BUNDLE_FILE}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the pool.

    Attributes:
        blueprint: the family.
        weights: (contribution id, thousandths), sorted by id; empty for the seed itself.
        budget: a size, or a limit that the pool resolves to one.
    """

    blueprint: Blueprint
    weights: Mixture
    budget: Budget

    def as_json(self) -> dict[str, Any]:
        """What a partial download belongs to."""
        size, budget = self.budget.size, self.budget
        return {
            "blueprint": self.blueprint.sha256,
            "weights": [list(pair) for pair in self.weights],
            "budget": {
                "size": str(size) if size else None, "max_params": budget.max_params, "max_bytes": budget.max_bytes
            },
        }  # fmt: skip

    def check_size(self, size: Size, total: int) -> None:
        """Refuse an answer that is not what was asked for.

        Raises:
            VerificationError: LINEAGE_INVALID.
        """
        self.blueprint.check(size)
        budget = self.budget
        fits = (
            (budget.size is None or size == budget.size)
            and (budget.max_params is None or self.blueprint.params(size) <= budget.max_params)
            and (budget.max_bytes is None or total <= budget.max_bytes)
        )
        if not fits or total != descendant.total_bytes(self.blueprint, size):
            raise VerificationError(
                "LINEAGE_INVALID",
                f"the pool answered the size {size} of {total} bytes, which is not what was asked for",
                "tell the pool's operator",
            )


def fetch(connection: Connection, wanted: Wanted, folder: Path, progress: Progress) -> bool:
    """Fill a folder with the files of a descendant; nothing is verified yet.

    Args:
        connection: to the pool.
        wanted: what to ask for.
        folder: exists; a partial model.safetensors in it is continued.
        progress: called after every chunk.

    Returns:
        Whether the download continued an earlier one.

    Raises:
        Unavailable: POOL_UNREACHABLE, TOO_SLOW, BUSY or SERVING_UNAVAILABLE, after several tries; what came is kept.
        VerificationError: LINEAGE_INVALID, the answer is not what was asked for; PATH_FOREIGN, a part is not ours.
        StorageError: DISK_FULL or DISK_FAILED.
        GenepoolError: what the pool answered.
    """
    path = folder / descendant.MODEL_FILE
    resumed = path.exists() and path.stat().st_size > 0
    pauses = list(_PAUSES)
    while True:
        before = path.stat().st_size if path.exists() else 0
        try:
            _once(connection, wanted, folder, progress)
        except Unavailable as exc:
            if exc.reason not in _PASSING:
                raise
            if path.exists() and path.stat().st_size > before:
                pauses = list(_PAUSES)
            if not pauses:
                raise
            time.sleep(max(pauses.pop(0), pause_after(exc) or 0.0))
        except Refused as exc:
            if exc.reason != "OFFSET" or before == 0:
                raise
            path.unlink()  # longer than the descendant is: parts of something else
            resumed = False
        else:
            return resumed


def _once(connection: Connection, wanted: Wanted, folder: Path, progress: Progress) -> None:
    with storage_errors(folder), append_own(folder / descendant.MODEL_FILE) as file:
        request = consume_pb2.DescendRequest(
            blueprint=wanted.blueprint.name,
            weights=[types_pb2.Weight(contribution_id=name, milli=milli) for name, milli in wanted.weights],
            budget=_budget(wanted.budget),
            resume_offset=file.tell(),
        )
        with contextlib.closing(connection.stream(connection.descend.Descend, request)) as parts:
            total = _header(next(parts, None), wanted)
            files = _body(parts, file, total, progress)
        for name, raw in files.items():
            write_atomic(folder / name, raw)


def _header(part: consume_pb2.DescendResponse | None, wanted: Wanted) -> int:
    if part is None or part.WhichOneof("part") != "header":
        raise _broken("without a header")
    total = part.header.total_bytes
    wanted.check_size(Size(part.header.size.depth, part.header.size.heads), total)
    return total


def _body(
    parts: Iterator[consume_pb2.DescendResponse], file: IO[bytes], total: int, progress: Progress
) -> dict[str, bytes]:
    position = file.tell()
    for part in parts:
        if part.WhichOneof("part") == "attestation":
            if position != total:
                break
            return _documents(part, parts)
        position += len(part.chunk)
        if position > total:
            raise GenepoolError("INTERNAL", f"the pool sent more than the {total} bytes that it announced", "try again")
        file.write(part.chunk)
        progress(position, total, "bytes")
    raise _broken(f"after {position} of {total} bytes")


def _documents(part: consume_pb2.DescendResponse, parts: Iterator[consume_pb2.DescendResponse]) -> dict[str, bytes]:
    """The small files, joined from this part and those that follow it."""
    pieces: dict[str, list[bytes]] = {}
    room = _DOCUMENTS_BYTES
    while True:
        for name, raw in part.attestation.files.items():
            pieces.setdefault(name, []).append(raw)
            room -= len(raw)
        if room < 0 or not pieces.keys() <= _DOCUMENTS:
            break
        if not part.attestation.more:
            if pieces.keys() != _DOCUMENTS:
                break
            return {name: b"".join(chunks) for name, chunks in pieces.items()}
        following = next(parts, None)
        if following is None or following.WhichOneof("part") != "attestation":
            raise _broken("inside its attestation")
        part = following
    raise GenepoolError("INTERNAL", "the pool attested other documents than a descendant has", "try again")


def _broken(when: str) -> Unavailable:
    return Unavailable("POOL_UNREACHABLE", f"the pool ended a descendant {when}", "run it again to continue")


def _budget(budget: Budget) -> types_pb2.SizeBudget:
    if budget.size is not None:
        return types_pb2.SizeBudget(size=types_pb2.Size(depth=budget.size.depth, heads=budget.size.heads))
    if budget.max_params is not None:
        return types_pb2.SizeBudget(max_params=budget.max_params)
    return types_pb2.SizeBudget(max_bytes=budget.max_bytes or 0)
