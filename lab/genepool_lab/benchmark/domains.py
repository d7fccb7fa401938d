"""Domains: which images a site holds, and which classes no site sees."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from genepool_client.pictures.images import ImageSet, image_set, load_images
from genepool_client.simulate import partition
from genepool_lab.benchmark.plan import BenchmarkPlan
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.wire.errors import InvalidInput

Role = Literal["site", "uncovered", "bystander"]
ROLES_FILE: Final = "benchmark.json"
_PACK: Final = {  # site folder of the sample pack -> the task of its unseen classes
    "animals": "animals-other",
    "clothing": "shoes-and-bags",
    "digits": "digits-5-9",
    "hiragana": "",
    "letters": "letters-n-z",
    "textures": "textures-other",
}
_BYSTANDERS: Final = ("hiragana",)  # of the sample pack: nothing of it is a task


@dataclass(frozen=True, slots=True)
class Domain:
    """Images of one kind; no class is in both sets.

    Attributes:
        name: of the domain.
        role: see `Role`.
        relative: the covered domain that an uncovered one is related to, or "".
        site: what a site holds; None for an uncovered domain.
        unseen: classes that no site sees; None for a bystander.
    """

    name: str
    role: Role
    relative: str
    site: ImageSet | None = field(repr=False)
    unseen: ImageSet | None = field(repr=False)


def load(data: Sequence[Path], blueprint: Blueprint, plan: BenchmarkPlan, unpack: Path) -> list[Domain]:
    """The domains of some folders (each with class folders, or with such folders), or of the sample pack.

    A folder of domains may say in `benchmark.json` which part each plays (lab/data/make_benchmark.py); without it
    every fourth domain, and every one with fewer than eight classes, is uncovered.

    Raises:
        InvalidInput: PATH_MISSING, FOLDER_EMPTY, IMAGE_UNREADABLE, FILE_MALFORMED, or OPTION_INVALID with fewer than
            two sites.
    """
    domains = _pack(blueprint, plan, unpack) if not data else []
    for path in data:
        roles = _roles(path / ROLES_FILE)
        for folder in partition.data_folders([path]):
            domains.append(_domain(folder, roles.get(folder.name), len(domains), blueprint, plan))
    if sum(domain.role == "site" for domain in domains) < 2:
        raise InvalidInput(
            "OPTION_INVALID", "the data gives fewer than two sites", "give two or more folders of eight classes or more"
        )
    return domains


def _roles(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        said = {
            name: {"role": part["role"], "relative": part["relative"]}
            for name, part in json.loads(path.read_bytes()).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidInput("FILE_MALFORMED", f"{path} does not give every domain a role and a relative") from exc
    for name, part in said.items():
        if part["role"] not in {"site", "uncovered", "bystander"}:
            raise InvalidInput(
                "FILE_MALFORMED",
                f"{path} gives {name} the role {part['role']!r}",
                "choose site, uncovered or bystander",
            )
    return said


def _pack(blueprint: Blueprint, plan: BenchmarkPlan, unpack: Path) -> list[Domain]:
    archive = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(archive) as path, zipfile.ZipFile(path) as opened:
        opened.extractall(unpack)
    domains = []
    for name, task in _PACK.items():
        site = _limited(load_images(unpack / "sites" / name, blueprint.image), plan.images)
        unseen = _bank(task, load_images(unpack / "tasks" / task, blueprint.image), plan) if task else None
        role: Role = "bystander" if name in _BYSTANDERS else "site"
        domains.append(Domain(name, role, "", site, unseen))
    thai = _bank("thai", load_images(unpack / "tasks" / "thai", blueprint.image), plan)
    return [*domains, Domain("thai", "uncovered", "", None, thai)]


def _domain(folder: Path, said: dict[str, str] | None, place: int, blueprint: Blueprint, plan: BenchmarkPlan) -> Domain:
    images = load_images(folder, blueprint.image)
    few = len(images.classes) < 8
    role = said["role"] if said else "uncovered" if few or place % 4 == 3 else "site"
    relative = (said or {}).get("relative", "")
    if role == "uncovered":
        return Domain(folder.name, "uncovered", relative, None, _bank(folder.name, images, plan))
    if role == "bystander":
        return Domain(folder.name, "bystander", "", _limited(images, plan.images), None)
    seen, unseen = split_classes(folder.name, images, plan.ways)
    return Domain(folder.name, "site", "", _limited(seen, plan.images), _bank(folder.name, unseen, plan))


def split_classes(name: str, images: ImageSet, ways: int) -> tuple[ImageSet, ImageSet]:
    """What a site sees, and the third of the classes (`ways` at least, half at most) that no site sees."""
    count = len(images.classes)
    held = min(max(ways, count // 3), count // 2)
    order = np.random.default_rng([len(name), *name.encode()]).permutation(count)
    return subset(images, np.sort(order[held:])), subset(images, np.sort(order[:held]))


def subset(images: ImageSet, classes: npt.NDArray[np.int64]) -> ImageSet:
    """The images of some classes, numbered anew."""
    which = np.isin(images.labels, classes)
    labels = np.searchsorted(classes, images.labels[which])
    return image_set(images.pixels[which], labels, [images.classes[int(c)] for c in classes])


def _limited(images: ImageSet, most: int) -> ImageSet:
    if len(images.labels) <= most:
        return images
    places = np.sort(np.random.default_rng(0).permutation(len(images.labels))[:most])
    return image_set(images.pixels[places], images.labels[places], images.classes)


def _bank(name: str, images: ImageSet, plan: BenchmarkPlan) -> ImageSet:
    """Some classes and some images of each: features of all of them are computed for every start."""
    classes, each = plan.unseen
    rng = np.random.default_rng([len(name), *name.encode()])
    chosen = subset(images, np.sort(rng.permutation(len(images.classes))[:classes]))
    order = rng.permutation(len(chosen.labels))
    chosen_places = np.sort(
        np.concatenate([order[chosen.labels[order] == c][:each] for c in range(len(chosen.classes))])
    )
    return image_set(chosen.pixels[chosen_places], chosen.labels[chosen_places], chosen.classes)
