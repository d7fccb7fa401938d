"""The consumer's half of a simulation: select for unseen tasks, descend, measure, verify, and try to cheat."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from genepool_client.consumer.descendant.verify import verify
from genepool_client.consumer.pool import Pool
from genepool_client.pictures.images import ImageSet
from genepool_client.simulate import experiment
from genepool_client.simulate.episodes import Episode, draw_episode, save_episode
from genepool_client.simulate.experiment import DESCENDANT, SCRATCH, SEED, Bench, Job, StartAccuracy
from genepool_client.simulate.page.report import SelectionReport, VerificationReport, WeightReport
from genepool_client.simulate.scenario import Options
from genepool_client.simulate.watch import Clock
from genepool_protocol.learngene.blueprint import blueprint_folder
from genepool_protocol.learngene.descendant import MODEL_FILE
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.wire.errors import GenepoolError

_FLIPPED: Final = 100_000
"""Place of the byte that is flipped, modulo the file's length."""

DescendantFolders = Mapping[tuple[Mixture, Size], Path]
"""Folders by what they were made from."""


@dataclass(frozen=True, slots=True)
class EpisodeAnswer:
    """What both modes of selection answered for one episode."""

    episode: Episode
    weights: Mixture
    agrees: bool
    report: SelectionReport


def draw_episodes(tasks: Mapping[str, ImageSet], shots: int, draws: Iterable[int]) -> list[Episode]:
    """A support set of every task for each of these draws, task by task."""
    return [
        draw_episode(name, images.pixels, images.labels, shots, draw)
        for name, images in tasks.items()
        for draw in draws
    ]


class Consumer:
    """A consumer of the pool.

    Args:
        anchors: the pool's.
        work: where descendants and episodes go.
        sites: the contributor of each contribution.
    """

    def __init__(self, anchors: Anchors, work: Path, sites: Mapping[str, str]) -> None:
        self._work, self._sites = work, sites
        self._pool = Pool(anchors.address, anchors=anchors, memory=work / "seen")
        for name in ("descendants", "episodes"):
            (work / name).mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def ask(self, clock: Clock, episodes: Sequence[Episode]) -> list[EpisodeAnswer]:
        """TALS for every episode, at home and on the pool's workers."""
        with clock.phase("selection") as progress:
            answers = []
            for episode in episodes:
                answers.append(self._ask(episode))
                progress(len(answers), len(episodes), episode.task)
        return answers

    def _ask(self, episode: Episode) -> EpisodeAnswer:
        support = (episode.support, episode.support_labels)
        private = self._pool.select(support, mode="private")
        remote = self._pool.select(support, mode="remote")
        weights = [WeightReport(self._sites[name], milli / 1000) for name, milli in private.weights]
        report = SelectionReport(episode.task, episode.draw, private.choice, weights, private.reason)
        return EpisodeAnswer(episode, private.weights, private.weights == remote.weights, report)

    def descend(self, clock: Clock, answers: Sequence[EpisodeAnswer], sizes: Sequence[Size]) -> DescendantFolders:
        """A folder for every combination and size that was asked for; each is verified before it appears."""
        pairs = sorted({(selected.weights, size) for selected in answers for size in sizes})
        folders: dict[tuple[Mixture, Size], Path] = {}
        with clock.phase("descendants") as progress:
            for weights, size in pairs:
                folders[weights, size] = self._work / "descendants" / f"{len(folders):03d}-{size.depth}x{size.heads}"
                self._pool.descend(weights=weights, size=size, out=folders[weights, size])
                progress(len(folders), len(pairs), f"size {size}")
        return folders

    def measure(
        self,
        clock: Clock,
        options: Options,
        episodes: Sequence[Episode],
        answers: Sequence[EpisodeAnswer],
        descendants: DescendantFolders,
        learngenes: Mapping[str, Path],
    ) -> list[StartAccuracy]:
        """Accuracy of every start at every size, before and after fine-tuning, and of the controls."""
        saved = {
            (episode.task, episode.draw): save_episode(
                episode, self._work / "episodes" / f"{episode.task}-{episode.draw}.npz"
            )
            for episode in episodes
        }
        bench = Bench(blueprint_folder(options.blueprint), dict(learngenes), saved)
        jobs: list[Job] = []
        for selected in answers:
            task, draw = selected.episode.task, selected.episode.draw
            for size in options.sizes:
                folder = str(descendants[selected.weights, size])
                jobs += [Job(start, size, task, draw, options.finetune) for start in (SCRATCH, SEED)]
                jobs.append(Job(DESCENDANT, size, task, draw, options.finetune, selected.weights, folder))
            jobs += experiment.control_jobs(task, draw, options.sizes, sorted(learngenes), selected.weights)
        with clock.phase("measurements") as progress:
            return experiment.run(jobs, bench, options.parallel, progress)

    def prove(self, descendants: DescendantFolders) -> VerificationReport:
        """Verify a descendant offline, then flip one byte of a copy and see it refused."""
        # one with lineage, unless the seed alone was chosen for every task
        _, folder = min(descendants.items(), key=lambda item: not item[0][0])
        sentence = str(verify(folder, self._pool.trusted))
        copy = self._work / "tampered"
        shutil.copytree(folder, copy)
        with (copy / MODEL_FILE).open("r+b") as file:
            place = _FLIPPED % (copy / MODEL_FILE).stat().st_size
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1]))
        try:
            verify(copy, self._pool.trusted)
        except GenepoolError as exc:
            return VerificationReport(sentence, MODEL_FILE, True, exc.reason)
        return VerificationReport(sentence, MODEL_FILE, False, "")
