"""Blueprints and seeds as a client keeps them: in a cache, each under its digest, verified whenever it is read."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.private_files import append_own, create_own, private_folder, sync_folder
from genepool_protocol.trust import digest
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import InvalidInput, NotFound

BLUEPRINT_FILE: Final = "blueprint.json"
SEED_FILE: Final = "seed.safetensors"


def announced(capabilities: pool_pb2.GetCapabilitiesResponse, name: str, address: str) -> str:
    """Hex SHA-256 of the blueprint of that name, as the pool announces it.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    known = {info.name: info.sha256 for info in capabilities.blueprints}
    if name not in known:
        raise NotFound(
            "BLUEPRINT_UNKNOWN",
            f"the pool at {address} has no blueprint {name!r}",
            f"choose one of: {', '.join(sorted(known)) or 'none'}",
        )
    return known[name]


def only(capabilities: pool_pb2.GetCapabilitiesResponse, address: str, advice: str) -> str:
    """The name of the pool's only blueprint, for whoever named none.

    Args:
        capabilities: what the pool announces.
        address: the pool's, for the sentence.
        advice: how a caller names one; the names follow it.

    Raises:
        InvalidInput: OPTION_INVALID, it has several, or none.
    """
    names = sorted(info.name for info in capabilities.blueprints)
    if len(names) != 1:
        raise InvalidInput(
            "OPTION_INVALID", f"the pool at {address} has {len(names)} blueprints", f"{advice}: {', '.join(names)}"
        )
    return names[0]


def read(cache: Path, sha256: str) -> tuple[Blueprint, TensorFile] | None:
    """The blueprint of that digest in a cache, with its seed; None when something is missing or differs.

    The seed is opened once: the very bytes that were hashed are the ones that are used.
    """
    folder = cache / "blueprints" / sha256
    try:
        blueprint = parse_blueprint((folder / BLUEPRINT_FILE).read_bytes())
        if blueprint.sha256 != sha256 or (folder / SEED_FILE).stat().st_size != blueprint.seed.size:
            return None
        seed = TensorFile(folder / SEED_FILE)
    except (OSError, InvalidInput):
        return None
    return (blueprint, seed) if seed.sha256() == blueprint.seed.sha256.removeprefix("sha256:") else None


def load(cache: Path, sha256: str, parts: Iterable[pool_pb2.GetBlueprintResponse]) -> tuple[Blueprint, Path]:
    """The blueprint of that digest from the cache, or from the pool's stream into the cache.

    Args:
        cache: made when it does not exist.
        sha256: hex, of the blueprint's canonical bytes.
        parts: the pool's answer; read only when the cache does not have it.

    Raises:
        InvalidInput: JSON_MALFORMED, BLUEPRINT_MALFORMED or DIGEST_MISMATCH.
    """
    if not digest.is_sha256_hex(sha256):
        raise InvalidInput("DIGEST_MISMATCH", "the pool announces a blueprint without a SHA-256", "ask its operator")
    folder = cache / "blueprints" / sha256
    cached = read(cache, sha256)
    if cached is not None:
        return cached[0], folder / SEED_FILE
    private_folder(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as fresh:
        blueprint = _receive(Path(fresh), sha256, parts)
        _publish(Path(fresh), folder)
    return blueprint, folder / SEED_FILE


def _receive(folder: Path, sha256: str, parts: Iterable[pool_pb2.GetBlueprintResponse]) -> Blueprint:
    blueprint: Blueprint | None = None
    hasher, size = hashlib.sha256(), 0
    with append_own(folder / SEED_FILE) as file:
        for part in parts:
            if blueprint is None:
                if digest.sha256_hex(part.blueprint_json) != sha256:
                    raise _differs("blueprint")
                blueprint = parse_blueprint(part.blueprint_json)
                create_own(folder / BLUEPRINT_FILE, part.blueprint_json)
                continue
            size += len(part.seed_chunk)
            if size > blueprint.seed.size:
                break
            hasher.update(part.seed_chunk)
            file.write(part.seed_chunk)
        file.flush()
        os.fsync(file.fileno())
    if blueprint is None or (size, hasher.hexdigest()) != (
        blueprint.seed.size,
        blueprint.seed.sha256.removeprefix("sha256:"),
    ):
        raise _differs("seed")
    return blueprint


def _publish(fresh: Path, folder: Path) -> None:
    # other processes may put the same bytes there meanwhile; each name is replaced in one go
    private_folder(folder)
    for name in (SEED_FILE, BLUEPRINT_FILE):
        (fresh / name).replace(folder / name)
    sync_folder(folder)


def _differs(what: str) -> InvalidInput:
    return InvalidInput("DIGEST_MISMATCH", f"the {what} that the pool sent is not the one it announces", "try again")
