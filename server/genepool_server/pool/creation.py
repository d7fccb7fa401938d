"""Making a pool's folder, and reading the blueprints that it was made with."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.expansion import gene_layout
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, Refused, StorageError
from genepool_server.pool import durable, site_rows
from genepool_server.pool.folder import PoolFolder
from genepool_server.pool.head import Head
from genepool_server.pool.ledger import Ledger
from genepool_server.pool.view import LoadedBlueprint

BLUEPRINT: Final = "blueprint.json"
SEED: Final = "seed.safetensors"


def create(place: PoolFolder, origin: str, blueprints: Sequence[Path]) -> None:
    """See `Pool.create`."""
    _require_room(place)
    log_key = LogSigner.generate(origin)
    loaded = [load_blueprint(folder) for folder in blueprints]
    names = {one.blueprint.name for one in loaded}
    if not loaded or len(names) != len(loaded):
        raise InvalidInput("OPTION_INVALID", "a pool needs blueprints of different names", "name each of them once")
    with ExitStack() as undo:
        undo.callback(_clear, place)
        _fill(place, log_key, loaded)
        undo.pop_all()


def _parts(place: PoolFolder) -> list[Path]:
    files = [place.log_pem, place.release_pem, place.head, place.ledger]
    return [*files, place.blobs, place.spool, place.blueprints]


def _require_room(place: PoolFolder) -> None:
    if not place.root.is_dir():
        raise InvalidInput("PATH_MISSING", f"there is no folder {place.root}", "make it first")
    for part in _parts(place):
        if part.exists():
            raise InvalidInput(
                "PATH_NOT_EMPTY", f"{place.root} holds {part.name} of a pool already", "choose an empty folder"
            )


def _fill(place: PoolFolder, log_key: LogSigner, blueprints: Sequence[LoadedBlueprint]) -> None:
    for folder in (place.keys, place.blobs, place.spool, place.blueprints):
        durable.mkdir(folder)
    durable.create_exclusive(place.log_pem, log_key.pem())
    durable.create_exclusive(place.release_pem, SigningKey.generate().pem())
    for one in blueprints:
        target = place.blueprints / one.blueprint.name
        durable.mkdir(target)
        durable.create_exclusive(target / SEED, one.seed_path.read_bytes(), 0o644)
        durable.create_exclusive(target / BLUEPRINT, one.blueprint.canonical(), 0o644)
    Head(place.head).create()
    # the ledger makes it a pool, so it comes last
    identity = site_rows.Identity(log_key.name, log_key.public.vkey, os.urandom(32))
    with Ledger.create(place.ledger, identity):
        durable.sync(place.ledger)


def _clear(place: PoolFolder) -> None:
    ledger = place.ledger
    for part in (*_parts(place), *(ledger.with_name(ledger.name + end) for end in ("-wal", "-shm"))):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def load_blueprints(folder: Path) -> tuple[LoadedBlueprint, ...]:
    """The blueprints of a pool, sorted by name.

    Raises:
        StorageError: BLOB_CORRUPT, a file of a blueprint is missing or not what it was.
    """
    found = []
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        try:
            found.append(load_blueprint(path))
        except GenepoolError as exc:
            raise StorageError(
                "BLOB_CORRUPT",
                f"the blueprint in {path} is damaged: {exc.message}",
                "restore its files from the backup",
            ) from exc
    if not found:
        raise StorageError("BLOB_CORRUPT", f"there is no blueprint in {folder}", "restore its files from the backup")
    return tuple(sorted(found, key=lambda loaded: loaded.blueprint.name))


def load_blueprint(folder: Path) -> LoadedBlueprint:
    """A blueprint with the seed that it names.

    Raises:
        NotFound: FILE_MISSING.
        InvalidInput: JSON_MALFORMED, BLUEPRINT_MALFORMED, FILE_MALFORMED, SAFETENSORS_MALFORMED or ARCH_MISMATCH.
        Refused: SEED_MISMATCH.
    """
    path, seed_path = folder / BLUEPRINT, folder / SEED
    for one in (path, seed_path):
        if not one.is_file():
            raise NotFound("FILE_MISSING", f"the blueprint's file {one} is missing", "give its folder with both files")
    blueprint = parse_blueprint(path.read_bytes())
    _check_seed(blueprint, seed_path)
    return LoadedBlueprint(blueprint, seed_path)


def _check_seed(blueprint: Blueprint, path: Path) -> None:
    seed = blueprint.seed
    if path.stat().st_size != seed.size or f"sha256:{digest.sha256_file(path)}" != seed.sha256:
        raise Refused(
            "SEED_MISMATCH", f"{path} is not the seed that blueprint {blueprint.name} names", "fetch it again"
        )
    TensorFile(path).flat(gene_layout(blueprint, seed.components))
