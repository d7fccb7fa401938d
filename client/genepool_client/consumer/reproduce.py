"""Beyond signatures: doing the pool's work again. Rebuilding needs the learngenes, selecting again the support set."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from genepool_client.consumer.descendant.verify import Descendant
from genepool_client.consumer.pool import Pool, SupportLike
from genepool_protocol.learngene import descendant, expansion
from genepool_protocol.learngene.blueprint import bundled_folder
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, NotFound, VerificationError

SEED_FILE = "seed.safetensors"


def rebuild(verified: Descendant, learngenes: Path, cache: Path) -> str:
    """Build model.safetensors again from the learngenes that the lineage names, and compare the bytes.

    Args:
        verified: from `verify`.
        learngenes: a folder with the learngene files below it, under whatever names: they are known by their digests.
        cache: where blueprints are cached; the seed is taken from there, from the package, or from `learngenes`.

    Returns:
        One sentence for a person.

    Raises:
        NotFound: FILE_MISSING, a learngene or the seed is not there.
        InvalidInput: ARCH_MISMATCH or SAFETENSORS_MALFORMED, a file is not of the blueprint.
        VerificationError: REBUILD_DIFFERS.
    """
    lineage, blueprint = verified.lineage, verified.blueprint
    digests = {lineage.seed: "the seed"} | {
        item.sha256: f"the learngene {item.contribution_id[:16]} of {item.site}" for item in lineage.dependencies
    }
    files = _find(digests, _candidates(learngenes, cache, blueprint.name, digests))
    whole = expansion.gene_layout(blueprint, blueprint.seed.components)
    layout = expansion.gene_layout(blueprint, blueprint.components)
    seed = TensorFile(files[lineage.seed]).flat(whole).astype(np.float32)
    members = [(item.milli, TensorFile(files[item.sha256]).flat(layout)) for item in lineage.dependencies]
    if digest.sha256_hex(descendant.build(blueprint, lineage.size, seed, members)) != lineage.model:
        raise VerificationError(
            "REBUILD_DIFFERS",
            f"the learngenes that {verified.folder} names do not give its weights",
            "do not use the descendant, and tell the pool's operator",
        )
    return f"rebuilt: the seed and {len(members)} learngenes give the very same bytes"


def reselect(verified: Descendant, pool: Pool, support: SupportLike, licenses: tuple[str, ...] = ()) -> str:
    """Select again, at home, and compare the weights.

    Args:
        verified: from `verify`.
        pool: the pool that it came from, as it is now.
        support: the support set that was shown then.
        licenses: the filter that was used then.

    Returns:
        One sentence for a person.

    Raises:
        VerificationError: SELECTION_DIFFERS; a pool that grew or shrank since may rightly answer other weights.
        GenepoolError: as `Pool.select`.
    """
    selection = pool.select(support, "private", licenses)
    stated = tuple((item.contribution_id, item.milli) for item in verified.lineage.dependencies)
    if selection.weights != stated:
        raise VerificationError(
            "SELECTION_DIFFERS",
            f"selecting again over the {len(selection.candidates)} nearest learngenes of today gives: {selection}",
            "it may be another support set, or the pool changed since; otherwise do not use the descendant",
        )
    return f"selected again: the same weights ({selection})"


def _candidates(learngenes: Path, cache: Path, name: str, wanted: Mapping[str, str]) -> Iterator[Path]:
    """Files that may be one of the wanted ones, the likely places first."""
    if not learngenes.is_dir():
        raise InvalidInput("PATH_MISSING", f"there is no folder {learngenes}", "give the folder of the learngenes")
    yield from sorted((cache / "blueprints").glob(f"*/{SEED_FILE}"))
    with contextlib.suppress(NotFound):  # a blueprint of the pool's own
        shipped = bundled_folder(name) / SEED_FILE
        if shipped.is_file():  # some are too large to ship
            yield shipped
    for path in sorted(learngenes.rglob("*")):
        # a pool's blobs are named by their digest, everything else by what it is
        if path.is_file() and (path.suffix == ".safetensors" or path.name in wanted):
            yield path


def _find(wanted: Mapping[str, str], candidates: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in candidates:
        if len(files) == len(wanted):
            break
        sha256 = digest.sha256_file(path)
        if sha256 in wanted:
            files.setdefault(sha256, path)
    for sha256, what in wanted.items():
        if sha256 not in files:
            why = f"no file has the digest {sha256[:16]} of {what}"
            raise NotFound("FILE_MISSING", why, "give a folder that holds it (--learngenes)")
    return files
