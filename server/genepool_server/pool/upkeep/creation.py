"""Making a pool's folder, and reading the blueprints that it was made with."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.expansion import gene_layout
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.trust.trusted import Signers
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, Refused, StorageError
from genepool_server import durable
from genepool_server.pool.log.published_head import HeadStore
from genepool_server.pool.rows import site_rows
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.records import LoadedBlueprint, PoolIdentity

BLUEPRINT: Final = "blueprint.json"
SEED: Final = "seed.safetensors"


def create(
    place: PoolFolder, origin: str, blueprints: Sequence[Path], seeds: Sequence[Path] = (), storage: Storage = HERE
) -> None:
    """See `OpenPool.create`."""
    storage.check()
    _require_room(place)
    log_key = LogSigner.generate(origin)
    loaded = [load_blueprint(folder, seeds) for folder in blueprints]
    names = {blueprint.blueprint.name for blueprint in loaded}
    if not loaded or len(names) != len(loaded):
        raise InvalidInput("OPTION_INVALID", "a pool needs blueprints of different names", "name each of them once")
    with ExitStack() as undo:
        undo.callback(_clear, place)
        _fill(place, log_key, loaded, storage, undo)
        undo.pop_all()


def discard(place: PoolFolder, storage: Storage) -> None:
    """Take a pool away that was made just now and that nobody has seen, wherever its parts are."""
    storage.database(place).discard()
    storage.store(place).discard()
    _clear(place)


def owner_of(identity: PoolIdentity) -> str:
    """How a store of weights names the pool that it belongs to."""
    return f"{identity.origin}\n{identity.log_vkey}\n"


def _parts(place: PoolFolder) -> list[Path]:
    files = [place.log_pem, place.release_pem, place.operator_pem, place.review_key]
    files += [place.signers_file, place.head, place.ledger]
    return [*files, place.blobs, place.cache, place.spool, place.blueprints]


def _require_room(place: PoolFolder) -> None:
    if not place.root.is_dir():
        raise InvalidInput("PATH_MISSING", f"there is no folder {place.root}", "make it first")
    for part in _parts(place):
        if part.exists():
            raise InvalidInput(
                "PATH_NOT_EMPTY", f"{place.root} holds {part.name} of a pool already", "choose an empty folder"
            )


def _fill(
    place: PoolFolder, log_key: LogSigner, blueprints: Sequence[LoadedBlueprint], storage: Storage, undo: ExitStack
) -> None:
    identity = PoolIdentity(log_key.name, log_key.public.vkey, os.urandom(32))
    for folder in (place.keys, place.spool, place.blueprints):
        durable.mkdir(folder)
    blobs = storage.store(place)
    blobs.create(owner_of(identity))
    undo.callback(blobs.discard)
    durable.create_exclusive(place.log_pem, log_key.pem())
    release, operator = SigningKey.generate(), SigningKey.generate()
    durable.create_exclusive(place.release_pem, release.pem())
    durable.create_exclusive(place.operator_pem, operator.pem())
    durable.create_exclusive(place.review_key, ReviewSecret.generate().raw)
    signers = Signers.begin(log_key.public, release.public, operator.public)
    durable.create_exclusive(place.signers_file, signers.encode(), 0o644)
    for loaded in blueprints:
        target = place.blueprints / loaded.blueprint.name
        durable.mkdir(target)
        durable.create_exclusive(target / SEED, loaded.seed_path.read_bytes(), 0o644)
        durable.create_exclusive(target / BLUEPRINT, loaded.blueprint.canonical(), 0o644)
    HeadStore(place.head).create()
    # the ledger makes it a pool, so it comes last
    Ledger.create(storage.database(place), partial(site_rows.put_identity, pool=identity)).close()


def _clear(place: PoolFolder) -> None:
    Sqlite(place.ledger).discard()
    for part in _parts(place):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def load_blueprints(folder: Path) -> tuple[LoadedBlueprint, ...]:
    """The blueprints of a pool, sorted by name.

    Raises:
        StorageError: BLOB_CORRUPT, a file of a blueprint is missing or not what it was.
    """
    blueprints = []
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        try:
            blueprints.append(load_blueprint(path))
        except GenepoolError as exc:
            raise StorageError(
                "BLOB_CORRUPT",
                f"the blueprint in {path} is damaged: {exc.message}",
                "restore its files from the backup",
            ) from exc
    if not blueprints:
        raise StorageError("BLOB_CORRUPT", f"there is no blueprint in {folder}", "restore its files from the backup")
    return tuple(sorted(blueprints, key=lambda loaded: loaded.blueprint.name))


def load_blueprint(folder: Path, seeds: Sequence[Path] = ()) -> LoadedBlueprint:
    """A blueprint with the seed that it names.

    Args:
        folder: with blueprint.json, and with seed.safetensors unless that is one of the seeds.
        seeds: files, of which the one with the right digest is taken.

    Raises:
        NotFound: FILE_MISSING.
        InvalidInput: JSON_MALFORMED, BLUEPRINT_MALFORMED, FILE_MALFORMED, SAFETENSORS_MALFORMED or ARCH_MISMATCH.
        Refused: SEED_MISMATCH.
    """
    path, own = folder / BLUEPRINT, folder / SEED
    for file in (path, *seeds):
        if not file.is_file():
            raise NotFound("FILE_MISSING", f"the file {file} is missing", "give the path of a file that is there")
    blueprint = parse_blueprint(path.read_bytes())
    seed_path = own if own.is_file() else next((seed for seed in seeds if _is_seed(blueprint, seed)), None)
    if seed_path is None and not seeds:
        raise NotFound(
            "FILE_MISSING",
            f"blueprint {blueprint.name} comes without its seed, the file {own}",
            f"make it with genepool-server blueprint make {blueprint.name} and give it with --seed FILE",
        )
    if seed_path is None or not _is_seed(blueprint, seed_path):
        raise Refused(
            "SEED_MISMATCH",
            f"{seed_path or ' nor '.join(map(str, seeds))} is not the seed that blueprint {blueprint.name} names",
            f"make it again; it has {blueprint.seed.size:,} bytes and the digest {blueprint.seed.sha256}",
        )
    TensorFile(seed_path).flat(gene_layout(blueprint, blueprint.seed.components))
    return LoadedBlueprint(blueprint, seed_path)


def _is_seed(blueprint: Blueprint, path: Path) -> bool:
    seed = blueprint.seed
    return path.stat().st_size == seed.size and f"sha256:{digest.sha256_file(path)}" == seed.sha256
