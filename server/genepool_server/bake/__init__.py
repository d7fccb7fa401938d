"""Baking a seed learngene: training the whole family at once on public images.

`corpus` reads what it is baked from, `layers` is the net in training and its gene, `oven` trains; here it becomes a
blueprint's folder.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from genepool_protocol.learngene import expansion, tensors
from genepool_protocol.learngene.blueprint import Blueprint, bundled_folder, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import digest
from genepool_server.bake.corpus import read_corpus
from genepool_server.bake.oven import Oven, Progress, Recipe

__all__ = ["CHECKPOINT", "LOG", "Oven", "Recipe", "bake_folder", "bundled", "read_corpus", "write_blueprint"]

CHECKPOINT = "bake.pt"
LOG = "bake.json"


def bake_folder(
    blueprint: Blueprint | str,
    corpus: Path,
    out: Path,
    *,
    teacher: Path | None = None,
    recipe: Recipe | None = None,
    progress: Progress = lambda _done, _total, _note: None,
) -> Blueprint:
    """Bake a seed from a corpus folder: what `genepool-server blueprint bake` does.

    Writes `seed.safetensors`, `blueprint.json` and `bake.json` (figures) into `out`. While it runs, `bake.pt` lies
    there and a second call continues from it.

    Args:
        blueprint: the family, or the name of a bundled blueprint whose family is meant; its seed reference is replaced.
        corpus: SET/CLASS/*.png.
        out: the blueprint's folder.
        teacher: a teacher's features of the corpus (.npz), or None to learn from classes alone.
        recipe: how long and how hard.
        progress: called with (done, total, note) after every step.

    Returns:
        The blueprint with the digest of its seed.

    Raises:
        InvalidInput: FOLDER_EMPTY, FILE_MALFORMED or DIGEST_MISMATCH.
        NotFound: BLUEPRINT_UNKNOWN.
        Refused: DATA_CHANGED, `bake.pt` belongs to another corpus, blueprint or recipe.
    """
    family = bundled(blueprint) if isinstance(blueprint, str) else blueprint
    chosen = recipe or Recipe()
    images = read_corpus(corpus, family.image, teacher)
    out.mkdir(parents=True, exist_ok=True)
    oven = Oven(family, images, chosen, out / CHECKPOINT)
    final = write_blueprint(family, oven.bake(progress), out)
    report = {
        "blueprint": final.name,
        "seed": final.seed.sha256,
        "corpus": {"images": len(images.labels), "classes": len(images.names)},
        "teacher": None if teacher is None else f"sha256:{digest.sha256_hex(teacher.read_bytes())}",
        "recipe": asdict(chosen),
        "minutes": round(oven.seconds / 60, 1),
        "held_out": [oven.held_out(size) for size in _reported(final)],
        "log": oven.log,
    }
    (out / LOG).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / CHECKPOINT).unlink(missing_ok=True)
    return final


def _reported(blueprint: Blueprint) -> list[Size]:
    depths = sorted({blueprint.depths[0], blueprint.depth // 2, blueprint.depth, blueprint.depths[1]})
    return [Size(depth, heads) for depth in depths if depth for heads in range(1, blueprint.heads + 1)]


def bundled(name: str) -> Blueprint:
    """A blueprint that ships inside the package.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    return parse_blueprint((bundled_folder(name) / "blueprint.json").read_bytes())


def write_blueprint(blueprint: Blueprint, gene: Mapping[str, torch.Tensor], folder: Path) -> Blueprint:
    """Write `seed.safetensors` (float16) and `blueprint.json` with the seed's digest; returns that blueprint."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    raw = tensors.encode({name: gene[name].numpy() for name in layout}, "F16")
    seed = blueprint.seed.model_copy(update={"sha256": f"sha256:{digest.sha256_hex(raw)}", "size": len(raw)})
    final = blueprint.model_copy(update={"seed": seed})
    (folder / "seed.safetensors").write_bytes(raw)
    (folder / "blueprint.json").write_bytes(final.canonical())
    return final
