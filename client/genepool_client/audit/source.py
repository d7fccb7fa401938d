"""Where an audit reads the log from: a static copy in a folder, or the pool itself. Both give files by their paths."""

from dataclasses import dataclass
from pathlib import Path

from genepool_client.transport.channel import Connection
from genepool_protocol.trust import tiles
from genepool_protocol.trust.tiles import Read, Tile
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import NotFound, VerificationError

_NOTE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class LogSource:
    """A log to be audited.

    Attributes:
        checkpoint: its head as it is shown, empty for an empty log.
        witnessed: its latest head with a quorum of cosignatures; empty when there is none.
        read: gives a tile.
        live: whether it comes from the pool itself, so that it must be up to date.
    """

    checkpoint: str
    witnessed: str
    read: Read
    live: bool


def folder(path: Path) -> LogSource:
    """A static copy, as `genepool-server log --export` writes it.

    Raises:
        NotFound: FILE_MISSING.
    """

    def read(name: str) -> bytes:
        most = _most(name)
        try:
            with (path / name).open("rb") as file:
                raw = file.read(most + 1)
        except OSError as exc:
            raise NotFound(
                "FILE_MISSING",
                f"the copy of the log lacks {name}: {exc.strerror}",
                "fetch the copy again, the checkpoint first",
            ) from exc
        return _bounded(raw, most, name)

    witnessed = read(tiles.WITNESSED) if (path / tiles.WITNESSED).is_file() else b""
    return LogSource(
        read(tiles.CHECKPOINT).decode(errors="replace"), witnessed.decode(errors="replace"), read, live=False
    )


def pool(connection: Connection) -> LogSource:
    """The pool's own log.

    Raises:
        GenepoolError: as `Connection.call`.
    """

    def read(name: str) -> bytes:
        raw, most = bytearray(), _most(name)
        for part in connection.stream(connection.log.GetTile, pool_pb2.GetTileRequest(path=name)):
            raw += part.chunk
            _bounded(raw, most, name)
        return bytes(raw)

    response = connection.call(connection.log.GetCheckpoint, pool_pb2.GetCheckpointRequest())
    return LogSource(response.checkpoint, response.witnessed, read, live=True)


def _most(name: str) -> int:
    if name in (tiles.CHECKPOINT, tiles.WITNESSED):
        return _NOTE_BYTES
    tile = Tile.parse(name)
    return tiles.longest_bundle(tile.width) if tile.level is None else 32 * tile.width


def _bounded(raw: bytes | bytearray, most: int, name: str) -> bytes:
    if len(raw) > most:
        raise VerificationError("LOG_INVALID", f"the log's file {name} is too long", "fetch the copy again")
    return bytes(raw)
