"""Who holds which images: the sample pack, folders as sites, or one data set dealt out."""

import hashlib
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from genepool_client.pictures import walker
from genepool_protocol.wire.errors import InvalidInput

_NAME = re.compile(r"[^a-z0-9]+")
_LONGEST = 46  # letters of a folder's name in a site's: a pool takes 63, and shares and tasks add theirs


@dataclass(frozen=True, slots=True)
class SiteData:
    """A simulated site: its name and its folder of class folders."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who plays: sites with their images, and folders of tasks that no site has seen."""

    sites: tuple[SiteData, ...]
    tasks: tuple[Path, ...]


def site_names(texts: Sequence[str]) -> list[str]:
    """A name that a pool accepts for each text, and no name twice: lower case, digits and hyphens.

    Texts that say the same in these letters, or nothing, get a part of a SHA-256 besides: of the text, and of how often
    it came before.
    """
    plain = [_NAME.sub("-", text.lower()).strip("-")[:_LONGEST].strip("-") for text in texts]
    often, before = Counter(plain), Counter[str]()
    names = []
    for name, text in zip(plain, texts, strict=True):
        told_apart = hashlib.sha256(os.fsencode(text) + b"\0" + str(before[text]).encode()).hexdigest()[:8]
        names.append(name if name and often[name] == 1 else f"{name or 'site'}-{told_apart}")
        before[text] += 1
    return names


def samples(folder: Path, sites: int) -> Scenario:
    """The sample pack that ships with genepool, unpacked into `folder`: six domains, and tasks that no site has seen.

    Raises:
        InvalidInput: OPTION_INVALID, too many sites for the pack's images.
    """
    if not (folder / "ORIGIN.md").exists():
        pack = resources.files("genepool_client.simulate") / "samples"
        with resources.as_file(pack / "samples.zip") as archive, zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
        with resources.as_file(pack / "ORIGIN.md") as origin:
            shutil.copy(origin, folder / "ORIGIN.md")
    parts = by_folder([folder / "sites"], sites, folder / "shares")
    return Scenario(parts, tuple(sorted((folder / "tasks").iterdir())))


def data_folders(paths: list[Path]) -> list[Path]:
    """Every folder of class folders: each path itself, or the folders in it, where all of these hold folders.

    Raises:
        InvalidInput: PATH_MISSING or PATH_UNREADABLE.
    """
    data: list[Path] = []
    for path in paths:
        sets = [inner for inner in walker.folders(path) if walker.folders(inner)]
        splits = {inner.name.lower() for inner in sets} <= walker.SPLITS
        data += [path] if splits or len(sets) < len(walker.folders(path)) else sets
    return data


def by_folder(paths: list[Path], sites: int, into: Path) -> tuple[SiteData, ...]:
    """Every folder of class folders is a site; with more sites than folders, several sites share one evenly.

    Args:
        paths: folders of class folders, or folders of such folders.
        sites: how many sites.
        into: where folders of links are made, when folders are shared.

    Raises:
        InvalidInput: PATH_MISSING, or OPTION_INVALID when a share would have fewer than two images of a class.
    """
    folders = data_folders(paths)
    names = site_names([path.name for path in folders])
    if sites <= len(folders):
        return tuple(SiteData(name, path) for name, path in zip(names[:sites], folders, strict=False))
    parts = []
    for place, (path, count) in enumerate(zip(folders, _counts(sites, len(folders)), strict=True)):
        for share in range(count):
            name = f"{names[place]}-{share:03d}"
            parts.append(SiteData(name, _share(path, share, count, into / name)))
    return tuple(parts)


def _counts(sites: int, folders: int) -> list[int]:
    """How many sites share each folder, evenly."""
    return [sites // folders + (place < sites % folders) for place in range(folders)]


def _share(path: Path, share: int, count: int, into: Path) -> Path:
    """Every `count`-th image of each class from the `share`-th on, as a folder of links."""
    for kind in walker.read(path).classes:
        files = kind.files[share::count]
        if len(files) < 2:
            raise InvalidInput(
                "OPTION_INVALID",
                f"{count} sites cannot share {path}: {kind.name} would have fewer than two images at each",
                "lower --sites",
            )
        for file in files:
            _link(into, kind, file)
    return into


def _link(into: Path, kind: walker.ClassFolder, file: Path) -> None:
    """A link to a file of a class below `into`, at the place that it has in the class."""
    link = into / kind.path.name / file.relative_to(kind.path)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(file.resolve())


def hold_out(paths: list[Path], into: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """Classes that no site may see: the last third of each data folder's classes becomes a task.

    A folder needs four classes to give two away; the others stay whole. What is kept and what is held out are folders
    of links below `into`.

    Args:
        paths: folders of class folders.
        into: where the folders of links are made.

    Returns:
        The folders for sites, in the order of `paths`, and the tasks.
    """
    remaining, tasks = [], []
    for path, name in zip(paths, site_names([path.name for path in paths]), strict=True):
        classes = [kind.path for kind in walker.read(path).classes]
        count = len(classes) // 3 if len(classes) >= 6 else 2 * (len(classes) >= 4)
        if not count:
            remaining.append(path)
            continue
        remaining.append(_linked(into / "kept" / name, classes[:-count]))
        tasks.append(_linked(into / "tasks" / f"{name}-unseen", classes[-count:]))
    return remaining, tuple(tasks)


def _linked(folder: Path, classes: list[Path]) -> Path:
    folder.mkdir(parents=True)
    for path in classes:
        (folder / path.name).symlink_to(path.resolve(), target_is_directory=True)
    return folder


def by_rule(folders: Sequence[Path], sites: int, rule: str, into: Path, rng: int = 0) -> tuple[SiteData, ...]:
    """Each folder of class folders dealt out to its part of the sites; see `dealt`.

    Raises:
        InvalidInput: OPTION_INVALID, or as `walker.read`.
    """
    if len(folders) == 1:
        return dealt(folders[0], sites, rule, into, rng)
    if sites < 2 * len(folders):
        raise InvalidInput(
            "OPTION_INVALID",
            f"{len(folders)} data sets cannot be dealt out to {sites} sites by {rule}",
            "raise --sites to two for each data set, give one --data folder, or choose --partition by-folder",
        )
    parts = []
    for folder, name, count in zip(
        folders, site_names([folder.name for folder in folders]), _counts(sites, len(folders)), strict=True
    ):
        dealt_out = dealt(folder, count, rule, into / name, rng)
        parts += [SiteData(f"{name}-{place:03d}", part.folder) for place, part in enumerate(dealt_out)]
    return tuple(parts)


def dealt(path: Path, sites: int, rule: str, into: Path, rng: int = 0) -> tuple[SiteData, ...]:
    """One folder of class folders dealt out to sites, as folders of links.

    Args:
        path: a folder of class folders.
        sites: how many sites.
        rule: `dirichlet:A` (class shares drawn from a Dirichlet distribution; small A is uneven) or `classes:K` (each
            site sees K classes).
        into: where the site folders are made.
        rng: seed of the dealing.

    Raises:
        InvalidInput: OPTION_INVALID, or as `walker.read`.
    """
    classes = walker.read(path).classes
    generator = np.random.default_rng(rng)
    shares = _shares(rule, len(classes), sites, generator)
    for index, kind in enumerate(classes):
        order = generator.permutation(len(kind.files))
        ends = np.round(np.cumsum(shares[index]) * len(kind.files)).astype(int)
        for site, (start, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
            for number in order[start:end]:
                _link(into / f"site-{site:03d}", kind, kind.files[number])
    folders = sorted(into.iterdir())
    poor = [folder.name for folder in folders if len(list(folder.iterdir())) < 2]
    if len(folders) < sites or poor:
        raise InvalidInput(
            "OPTION_INVALID", f"--partition {rule} leaves a site with fewer than two classes", "choose a more even rule"
        )
    return tuple(SiteData(folder.name, folder) for folder in folders)


def _shares(rule: str, classes: int, sites: int, generator: np.random.Generator) -> np.ndarray:
    """Share of every class that each site gets, shape (classes, sites), rows sum to one."""
    kind, _, text = rule.partition(":")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if kind == "dirichlet" and value > 0:
        return generator.dirichlet([value] * sites, size=classes)
    if kind == "classes" and value == int(value) and 2 <= value <= classes:
        shares = np.zeros((classes, sites))
        for site in range(sites):
            first = site * int(value)
            shares[[(first + k) % classes for k in range(int(value))], site] = 1.0
        unseen = shares.sum(axis=1) == 0
        shares[unseen, generator.integers(sites, size=int(unseen.sum()))] = 1.0
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))
    raise InvalidInput(
        "OPTION_INVALID",
        f"--partition {rule!r} is not known",
        "choose by-folder, dirichlet:A (A > 0) or classes:K (K >= 2)",
    )
