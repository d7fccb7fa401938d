"""Baking a seed learngene: training the whole family at once on public images.

`corpus` reads what it is baked from, `layers` is the net in training and its gene, `recipe` says how long and how hard,
`oven` trains by the loop that sites use, too, `published` makes a seed of a published net; here it becomes a
blueprint's folder. `measure` says afterwards what each size is worth, and how domain embeddings are scaled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from genepool_protocol.learngene import algebra, expansion, tensors
from genepool_protocol.learngene.blueprint import Blueprint, blueprint_folder, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.progress import Progress, silent
from genepool_protocol.selection import net
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server import durable
from genepool_server.bake import measure, published
from genepool_server.bake.corpus import read_corpus
from genepool_server.bake.oven import Oven
from genepool_server.bake.recipe import GENTLE, BakeRecipe

__all__ = [
    "CHECKPOINT",
    "GENTLE",
    "LOG",
    "BakeRecipe",
    "Oven",
    "bake_folder",
    "bundled",
    "make_folder",
    "measure_folder",
    "read_corpus",
    "write_blueprint",
]

CHECKPOINT = "bake.pt"
LOG = "bake.json"


def bake_folder(
    blueprint: Blueprint | str,
    corpus: Path,
    out: Path,
    *,
    teacher: Path | None = None,
    start: Path | None = None,
    recipe: BakeRecipe | None = None,
    progress: Progress = silent,
) -> Blueprint:
    """Bake a seed from a corpus folder: what `genepool-server blueprint bake` does.

    Writes `seed.safetensors`, `blueprint.json` and `bake.json` (figures) into `out`. While it runs, `bake.pt` lies
    there and a second call continues from it.

    Args:
        blueprint: the family, or the name or folder of a blueprint whose family is meant; its seed is replaced.
        corpus: SET/CLASS/*.png.
        out: the blueprint's folder.
        teacher: a teacher's features of the corpus (.npz), or None to learn from classes alone.
        start: a seed of the family to begin with, its own teacher; None: random numbers.
        recipe: how long and how hard; None: the default with or without a start.
        progress: called with (done, total, note) after every step.

    Returns:
        The blueprint with the digest of its seed.

    Raises:
        InvalidInput: FOLDER_EMPTY, FILE_MALFORMED, DIGEST_MISMATCH, ARCH_MISMATCH, SAFETENSORS_MALFORMED, or
            OPTION_INVALID when both a teacher and a start are given.
        NotFound: BLUEPRINT_UNKNOWN.
        Refused: DATA_CHANGED, `bake.pt` belongs to another corpus, blueprint or recipe.
    """
    family = bundled(blueprint) if isinstance(blueprint, str) else blueprint
    if teacher is not None and start is not None:
        raise InvalidInput("OPTION_INVALID", "a seed to start from is its own teacher", "leave one of them out")
    chosen = recipe or (BakeRecipe() if start is None else GENTLE)
    gene = None if start is None else net.as_tensors(_seed(family, start))
    images = read_corpus(corpus, family.image, teacher)
    out.mkdir(parents=True, exist_ok=True)
    oven = Oven(family, images, chosen, out / CHECKPOINT, gene)
    sizes = _reported(family)
    before = None if gene is None else [oven.held_out(size) for size in sizes]
    final = write_blueprint(family, oven.bake(progress), out)
    report = {
        "blueprint": final.name,
        "seed": final.seed.sha256,
        "corpus": {"images": len(images.labels), "classes": len(images.names)},
        "teacher": None if teacher is None else f"sha256:{digest.sha256_hex(teacher.read_bytes())}",
        "start": None if start is None else f"sha256:{digest.sha256_file(start)}",
        "recipe": asdict(chosen),
        "minutes": round(oven.seconds / 60, 1),
        "held_out_before": before,
        "held_out": [oven.held_out(size) for size in sizes],
        "log": oven.log,
    }
    durable.write(out / LOG, json.dumps(report, indent=1).encode() + b"\n", 0o644)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return final


def make_folder(name: str, weights: Path, out: Path) -> Blueprint:
    """Make a blueprint's seed from the published weights: what `genepool-server blueprint make` does.

    Args:
        name: of a bundled blueprint, or its folder.
        weights: the published net by timm's names (.npz).
        out: gets `seed.safetensors`, in float32 so that nothing is rounded, and `blueprint.json`.

    Raises:
        InvalidInput: FILE_MALFORMED or ARCH_MISMATCH.
        NotFound: BLUEPRINT_UNKNOWN.
        Refused: SEED_MISMATCH, these are other weights than those that the blueprint stands for.
    """
    blueprint = bundled(name)
    written_blueprint = write_blueprint(
        blueprint, published.gene_of(blueprint, published.read_weights(weights)), out, "F32"
    )
    if written_blueprint != blueprint:
        for written in ("seed.safetensors", "blueprint.json"):
            (out / written).unlink()
        raise Refused(
            "SEED_MISMATCH",
            f"{weights} does not give the seed that blueprint {blueprint.name} names",
            "take the weights out of the package again (lab/data/README.md)",
        )
    return written_blueprint


def measure_folder(folder: Path, tasks: Path, corpus: Path, *, draws: int, progress: Progress = silent) -> Blueprint:
    """Measure a baked seed: what `genepool-server blueprint measure` does.

    Rewrites `blueprint.json` with the table of sizes and the scale of domain embeddings, and says how in `bake.json`.

    Args:
        folder: the blueprint's, with its seed.
        tasks: domains as SET/CLASS/*.png that the seed was not baked from.
        corpus: public images as SET/CLASS/*.png that domain embeddings are scaled by.
        draws: tasks of each domain.
        progress: called with (sizes done, sizes, note).

    Raises:
        InvalidInput: FOLDER_EMPTY, BLUEPRINT_MALFORMED or SAFETENSORS_MALFORMED.
    """
    before = parse_blueprint((folder / "blueprint.json").read_bytes())
    seed = measure.seed_gene(before, folder / "seed.safetensors")
    domains, public = read_corpus(tasks, before.image), read_corpus(corpus, before.image)
    table = measure.measured(before, seed, domains, draws, progress)
    space = measure.embedding_space(before, seed, public)
    final = before.model_copy(update={"measured": table, "key_space": space})
    log = folder / LOG
    report = json.loads(log.read_bytes()) if log.exists() else {"blueprint": final.name, "seed": final.seed.sha256}
    names = [name.partition("/")[0] for name in domains.names]
    report["measured"] = {
        "shots": measure.SHOTS,
        "draws": draws,
        "domains": {name: names.count(name) for name in sorted(set(names))},
        "images": len(domains.labels),
        "key_images": len(public.labels),
    }
    durable.write(log, json.dumps(report, indent=1).encode() + b"\n", 0o644)
    durable.write(folder / "blueprint.json", final.canonical(), 0o644)
    return final


def _reported(blueprint: Blueprint) -> list[Size]:
    depths = sorted({blueprint.depths[0], blueprint.depth // 2, blueprint.depth, blueprint.depths[1]})
    return [size for size in blueprint.sizes() if size.depth in depths]


def _seed(blueprint: Blueprint, path: Path) -> algebra.Gene:
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    return algebra.views(layout, tensors.TensorFile(path, LIMITS.seed_bytes).flat(layout).astype(np.float32))


def bundled(name: str) -> Blueprint:
    """A blueprint that ships inside the package, or that of a folder.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    return parse_blueprint((blueprint_folder(name) / "blueprint.json").read_bytes())


def write_blueprint(
    blueprint: Blueprint, gene: Mapping[str, torch.Tensor | np.ndarray], folder: Path, dtype: str = "F16"
) -> Blueprint:
    """Write `seed.safetensors` and `blueprint.json` with the seed's digest; returns that blueprint."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    raw = tensors.encode({name: np.asarray(gene[name]) for name in layout}, dtype)
    seed = blueprint.seed.model_copy(update={"sha256": f"sha256:{digest.sha256_hex(raw)}", "size": len(raw)})
    final = blueprint.model_copy(update={"seed": seed})
    durable.write(folder / "seed.safetensors", raw, 0o644)
    durable.write(folder / "blueprint.json", final.canonical(), 0o644)
    return final
