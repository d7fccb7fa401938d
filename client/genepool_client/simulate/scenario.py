"""Who plays: what is asked for becomes sites with folders of images, and tasks that no site sees."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from genepool_client.simulate import partition
from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.roles.script import Role
from genepool_protocol.learngene.size import Size
from genepool_protocol.private_files import FOLDER
from genepool_protocol.wire.errors import InvalidInput

_MARK: Final = ".genepool-simulation"
"""A report folder holds this file, so that only our own folders are ever cleared."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is played.

    Attributes:
        sites: how many.
        folder: of the report; an earlier report in it is replaced.
        data: folders of class folders; empty: the sample pack.
        rule: how data becomes sites, see `partition`.
        tasks: folders of class folders that no site sees; empty: classes held out of the data.
        blueprint: name of a bundled blueprint.
        sizes: of the descendants that are measured.
        shots: labelled images a class.
        draws: support sets a task.
        finetune: training steps on the support set; 0 measures before only.
        parallel: sites that train, and measurements that run, at the same time.
        steps: training steps of a site's ancestry model; 0: by the number of images.
        intensity: what is black and white in images deeper than a byte; see `pictures.intensity`.
        rng: which dice: how data is dealt out, and which support sets and random nets are drawn. Keys, and the noise
            that guards a site's images, are drawn anew in every run.
        roles: of sites that do not simply contribute.
    """

    sites: int
    folder: Path
    data: tuple[Path, ...] = ()
    rule: str = "by-folder"
    tasks: tuple[Path, ...] = ()
    blueprint: str = "nano-32"
    sizes: tuple[Size, ...] = (Size(3, 1), Size(6, 2), Size(9, 4))
    shots: int = 5
    draws: int = 2
    finetune: int = 20
    parallel: int = 2
    steps: int = 0
    intensity: str = ""
    rng: int = 0
    roles: tuple[Role, ...] = ()

    @property
    def draw_numbers(self) -> range:
        """Where the dice of each draw start: other ones for every `rng`."""
        return range(self.rng * self.draws, (self.rng + 1) * self.draws)


def check_report(folder: Path) -> None:
    """Refuse a report folder that holds something that is no report of ours.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _MARK).exists())):
        raise InvalidInput("PATH_NOT_EMPTY", f"{folder} holds something else than a report", "choose another --report")


def prepare(folder: Path) -> Path:
    """An empty work folder inside the report folder; an earlier report is cleared.

    Raises:
        InvalidInput: as `check_report`.
    """
    check_report(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _MARK:
            path.unlink()
    work = folder.absolute() / "work"
    work.mkdir(FOLDER)
    return work


def cast(options: Options, into: Path) -> Scenario:
    """Who holds which images; folders of links, where they are needed, are made below `into`.

    Raises:
        InvalidInput: PATH_MISSING or OPTION_INVALID.
    """
    into.mkdir()
    if not options.data:
        pack = partition.samples(into, options.sites)
        return replace(pack, tasks=options.tasks or pack.tasks)
    folders, tasks = partition.data_folders(list(options.data)), options.tasks
    if not tasks:
        folders, tasks = partition.hold_out(folders, into)
    if not tasks:
        raise InvalidInput(
            "OPTION_INVALID",
            "no data folder has four classes, so none can be held out as a task",
            "give --tasks FOLDER",
        )
    if options.rule == "by-folder":
        return Scenario(partition.by_folder(folders, options.sites, into / "shares"), tasks)
    return Scenario(partition.by_rule(folders, options.sites, options.rule, into / "dealt", options.rng), tasks)
