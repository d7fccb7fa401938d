"""Who plays: domains, which of their classes the sites see, the tasks, and how much of everything is done."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from genepool_client.simulate import partition
from genepool_client.site.images import ImageSet, class_folders, image_set, load_images
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.wire.errors import InvalidInput

Role = Literal["site", "uncovered", "bystander"]
Kind = Literal["covered", "mixture", "related", "unrelated"]
KINDS: Final[tuple[Kind, ...]] = ("covered", "mixture", "related", "unrelated")
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
_SPARE: Final = 8  # images of a class that are kept for testing, when a support set would take them all


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done; `full` and `quick` are the two that exist.

    Attributes:
        draws: episodes (support and test images, classes) of every task.
        shots: labelled images a class, rising; support sets are nested.
        ways: classes of an episode, at most.
        epochs: of fine-tuning, beside none.
        size: of the main table; None: the blueprint's reference, at which FedAvg trains.
        tuned: of the table of epochs; None: the blueprint's scoring size.
        sizes: of the table of sizes.
        test: test images a class, at most.
        images: of a site, at most.
        unseen: classes of a domain that tasks are made of, and images of each, at most.
        steps: of an ancestry model, condensing in proportion; 0: the recipe's own.
        trainings: how many times every site is trained, with other random numbers; draws take turns.
        mixtures: tasks of two covered domains.
        irrelevant: members added in the table of growth, rising.
        fully_trained: irrelevant members beyond so many are trained for a quarter of the steps.
        growth_draws: draws of the tables of growth and of the residual pool.
        shots_once: images a class of the tables that have one column only.
        size_domains: covered domains of the table of sizes.
        rounds: of FedAvg.
        evaluations: of the gradient-free search.
    """

    name: str
    draws: int = 5
    shots: tuple[int, ...] = (1, 5, 20)
    ways: int = 5
    epochs: tuple[int, ...] = (1, 10)
    size: Size | None = None
    tuned: Size | None = None
    sizes: tuple[Size, ...] = (
        Size(2, 1),
        Size(3, 1),
        Size(3, 2),
        Size(6, 2),
        Size(4, 4),
        Size(6, 3),
        Size(9, 4),
        Size(12, 4),
    )
    test: int = 25
    images: int = 1200
    unseen: tuple[int, int] = (12, 60)
    steps: int = 0
    trainings: int = 1
    mixtures: int = 4
    irrelevant: tuple[int, ...] = (10, 100)
    fully_trained: int = 10
    growth_draws: int = 3
    shots_once: int = 5
    size_domains: int = 3
    rounds: int = 8
    evaluations: int = 40


def full() -> Plan:
    """What fits into about two hours on two cores."""
    return Plan("full", tuned=Size(6, 2))


def quick() -> Plan:
    """What fits into five minutes on two cores with the sample pack: it shows that everything runs, and little more."""
    return Plan(
        "quick",
        draws=2,
        shots=(1, 5),
        epochs=(1,),
        size=Size(4, 2),
        tuned=Size(3, 1),
        sizes=(Size(2, 1), Size(4, 2)),
        test=20,
        images=300,
        steps=24,
        mixtures=1,
        irrelevant=(2,),
        fully_trained=2,
        growth_draws=1,
        size_domains=1,
        rounds=2,
        evaluations=10,
    )


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


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of few-shot task, out of the unseen classes of one or two domains."""

    name: str
    kind: Kind
    domains: tuple[str, ...]
    relative: str = ""

    @property
    def right(self) -> tuple[str, ...]:
        """The sites that know the task's domain."""
        return self.domains if self.kind in {"covered", "mixture"} else ()


@dataclass(frozen=True, slots=True)
class Episode:
    """One support set and its test images, as (domain, index) pairs into the unseen images.

    Attributes:
        task: its name.
        draw: which one.
        shots: labelled images a class.
        support: places of the support images.
        support_labels: their classes, 0..ways-1.
        test: places of the test images; the same for every number of shots.
        test_labels: their classes.
    """

    task: str
    draw: int
    shots: int
    support: tuple[tuple[str, int], ...] = field(repr=False)
    support_labels: tuple[int, ...] = field(repr=False)
    test: tuple[tuple[str, int], ...] = field(repr=False)
    test_labels: tuple[int, ...] = field(repr=False)


def load(data: Sequence[Path], blueprint: Blueprint, plan: Plan, unpack: Path) -> list[Domain]:
    """The domains of some folders (each with class folders, or with such folders), or of the sample pack.

    A folder of domains may say in `benchmark.json` which part each plays (deploy/data/make_benchmark.py); without it
    every fourth domain, and every one with fewer than eight classes, is uncovered.

    Raises:
        InvalidInput: PATH_MISSING, FOLDER_EMPTY, IMAGE_UNREADABLE, or OPTION_INVALID with fewer than two sites.
    """
    found = _pack(blueprint, plan, unpack) if not data else []
    for path in data:
        roles = json.loads((path / ROLES_FILE).read_text()) if (path / ROLES_FILE).exists() else {}
        for folder in partition.data_folders([path]):
            found.append(_domain(folder, roles.get(folder.name), len(found), blueprint, plan))
    if sum(domain.role == "site" for domain in found) < 2:
        raise InvalidInput(
            "OPTION_INVALID", "the data gives fewer than two sites", "give two or more folders of eight classes or more"
        )
    return found


def _pack(blueprint: Blueprint, plan: Plan, unpack: Path) -> list[Domain]:
    archive = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(archive) as path, zipfile.ZipFile(path) as opened:
        opened.extractall(unpack)
    domains = []
    for name, task in _PACK.items():
        site = _limited(load_images(unpack / "sites" / name, blueprint.image), plan.images)
        unseen = load_images(unpack / "tasks" / task, blueprint.image) if task else None
        role: Role = "bystander" if name in _BYSTANDERS else "site"
        domains.append(Domain(name, role, "", site, unseen))
    thai = load_images(unpack / "tasks" / "thai", blueprint.image)
    return [*domains, Domain("thai", "uncovered", "", None, thai)]


def _domain(folder: Path, said: dict[str, str] | None, place: int, blueprint: Blueprint, plan: Plan) -> Domain:
    images = load_images(folder, blueprint.image)
    few = len(class_folders(folder)) < 8
    role = (said or {"role": "uncovered" if few or place % 4 == 3 else "site"})["role"]
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
    kept = np.sort(np.random.default_rng(0).permutation(len(images.labels))[:most])
    return image_set(images.pixels[kept], images.labels[kept], images.classes)


def _bank(name: str, images: ImageSet, plan: Plan) -> ImageSet:
    """Some classes and some images of each: features of all of them are computed for every start."""
    classes, each = plan.unseen
    rng = np.random.default_rng([len(name), *name.encode()])
    chosen = subset(images, np.sort(rng.permutation(len(images.classes))[:classes]))
    order = rng.permutation(len(chosen.labels))
    kept = np.sort(np.concatenate([order[chosen.labels[order] == c][:each] for c in range(len(chosen.classes))]))
    return image_set(chosen.pixels[kept], chosen.labels[kept], chosen.classes)


def tasks(domains: Sequence[Domain], plan: Plan) -> list[Task]:
    """Unseen classes of every covered domain, mixtures of neighbours among them, and the uncovered domains."""
    sites = [domain.name for domain in domains if domain.role == "site" and domain.unseen is not None]
    found = [Task(name, "covered", (name,)) for name in sites]
    step = max(1, len(sites) // max(1, plan.mixtures))
    pairs = [(sites[i], sites[(i + 1) % len(sites)]) for i in range(0, len(sites), step)][: plan.mixtures]
    found += [Task(f"{a} + {b}", "mixture", (a, b)) for a, b in pairs]
    for domain in domains:
        if domain.role == "uncovered":
            kind: Kind = "related" if domain.relative else "unrelated"
            found.append(Task(domain.name, kind, (domain.name,), domain.relative))
    return found


def episodes(task: Task, domains: Sequence[Domain], plan: Plan) -> list[Episode]:
    """Every draw and number of shots of a task; the same plan gives the same episodes."""
    banks = {domain.name: domain.unseen for domain in domains if domain.unseen is not None}
    found = []
    for draw in range(plan.draws):
        rng = np.random.default_rng([draw, *task.name.encode()])
        orders = [
            (name, rng.permutation(np.flatnonzero(banks[name].labels == c)))
            for name, c in _classes(task, banks, plan.ways, rng)
        ]
        found += [_episode(task.name, draw, shots, orders, plan) for shots in plan.shots]
    return found


def _classes(task: Task, banks: dict[str, ImageSet], ways: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    shares = [ways - ways // 2, ways // 2] if len(task.domains) == 2 else [ways]
    chosen = []
    for name, share in zip(task.domains, shares, strict=True):
        order = rng.permutation(len(banks[name].classes))[:share]
        chosen += [(name, int(c)) for c in order]
    return chosen


def _episode(task: str, draw: int, shots: int, orders: list[tuple[str, npt.NDArray[np.int64]]], plan: Plan) -> Episode:
    support, labels, test, test_labels = [], [], [], []
    for label, (name, order) in enumerate(orders):
        most = max(1, min(plan.shots[-1], len(order) - _SPARE))
        support += [(name, int(i)) for i in order[: min(shots, most)]]
        labels += [label] * min(shots, most)
        rest = order[most : most + plan.test]
        test += [(name, int(i)) for i in rest]
        test_labels += [label] * len(rest)
    return Episode(task, draw, shots, tuple(support), tuple(labels), tuple(test), tuple(test_labels))


def with_sizes(plan: Plan, blueprint: Blueprint) -> Plan:
    """The plan with its sizes settled, those that the blueprint has.

    Raises:
        InvalidInput: SIZE_OUTSIDE_BLUEPRINT.
    """
    low, high = blueprint.depths
    fitting = tuple(size for size in plan.sizes if low <= size.depth <= high and size.heads <= blueprint.heads)
    size, tuned = plan.size or blueprint.reference, plan.tuned or blueprint.score.size()
    return replace(plan, size=blueprint.check(size), tuned=blueprint.check(tuned), sizes=fitting)
