"""From starts to rows: which cell gives each accuracy of each table."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.cells import Features, Measure, Probe, Shown
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.starts import SEED, Start, single, uniform
from genepool_lab.benchmark.tasks import Task
from genepool_lab.benchmark.trainings import Direct
from genepool_protocol.learngene.size import Size

if TYPE_CHECKING:
    from genepool_lab.benchmark.play import Benchmark


@dataclass(frozen=True, slots=True)
class Asked:
    """One start, measured on one episode, for one column of a table."""

    table: str
    column: str
    task: Task
    one: Shown
    start: Start
    size: Size
    epochs: tuple[int, ...] = ()


def rows(bench: "Benchmark") -> list[Row]:
    """All rows of all tables."""
    first = [*_main(bench), *_members(bench), *_sizes(bench), *_growth(bench), *_sequential(bench)]
    measured = _answered(bench, "measurements", first)
    members = [row for row in measured if row.table.startswith("member")]
    measured = [row for row in measured if not row.table.startswith("member")]
    measured += _oracles(bench, [row for row in members if row.size == str(bench.size)])
    tuned = _best(row for row in members if row.size == str(bench.tuned))
    return measured + _answered(bench, "fine-tuning", _epochs(bench, tuned))


def _main(bench: "Benchmark") -> list[Asked]:
    out = []
    for task, shown in bench.shown():
        starts = bench.statics(shown.episode.draw) | bench.dynamic(shown)
        out += [Asked(names.MAIN, column, task, shown, start, bench.size) for column, start in starts.items()]
    return out


def _members(bench: "Benchmark") -> list[Asked]:
    """Every site's learngene alone, at both sizes: what the oracles choose from."""
    return [
        Asked("member", name, task, shown, single(site.key), size)
        for task, shown in bench.shown()
        for name, site in bench.cast.trained(shown.episode.draw).items()
        for size in (bench.size, bench.tuned)
    ]


def _sizes(bench: "Benchmark") -> list[Asked]:
    out = []
    sites = bench.cast.sites[0]
    for task, shown in bench.shown(shots=bench.plan.shots_once):
        for size in bench.plan.sizes:
            if task.kind == "covered" and (task.name, size) in bench.direct:
                direct: Direct = bench.direct[task.name, size]
                starts = {
                    names.SCRATCH: Start("scratch", rng=shown.episode.draw),
                    names.SEED: SEED,
                    names.SELECTION: Start("selected"),
                    names.TALS: bench.answer(bench.pool(shown.episode.draw), shown),
                    names.OWN: single(sites[task.name].key),
                    names.DIRECT: Start("net", ((direct.key, 1.0),)),
                }
                out += [Asked(names.SIZES, column, task, shown, start, size) for column, start in starts.items()]
    return out


def _growth(bench: "Benchmark") -> list[Asked]:
    out = []
    for task, shown in bench.shown(draws=bench.plan.growth_draws, shots=bench.plan.shots_once):
        out.append(Asked(names.GROWTH, f"{names.SEED} | no pool", task, shown, SEED, bench.tuned))
        for stage, pool in bench.stages().items():
            soup = uniform([member.id for member in pool])
            for column, start in ((names.TALS, bench.answer(pool, shown)), (names.SOUP, soup)):
                out.append(Asked(names.GROWTH, f"{column} | {stage}", task, shown, start, bench.tuned))
    return out


def _sequential(bench: "Benchmark") -> list[Asked]:
    out = []
    pool, sites = bench.residual_pool(), bench.cast.sites[0].values()
    starts = {
        names.SEED: SEED,
        names.SOUP: uniform([site.key for site in sites]),
        names.RESIDUAL_SUM: Start("gene", tuple((member.id, 1.0) for member in pool)),
    }
    for task, shown in bench.shown(draws=bench.plan.growth_draws, shots=bench.plan.shots_once):
        both = starts | {
            names.TALS: bench.answer(bench.stages()["the sites"], shown),
            names.RESIDUAL: bench.answer(pool, shown),
        }
        out += [Asked(names.SEQUENTIAL, column, task, shown, start, bench.size) for column, start in both.items()]
    return out


def _epochs(bench: "Benchmark", best: dict[tuple[str, int], str]) -> list[Asked]:
    out = []
    for task, shown in bench.shown():
        sites = bench.cast.trained(shown.episode.draw)
        starts = bench.statics(shown.episode.draw) | bench.dynamic(shown)
        starts[names.ORACLE_TASK] = single(sites[best[task.name, shown.episode.shots]].key)
        out += [
            Asked(names.EPOCHS, column, task, shown, starts[column], bench.tuned, bench.plan.epochs)
            for column in names.TUNED
        ]
    return out


def _best(members: Iterable[Row]) -> dict[tuple[str, int], str]:
    """The site whose learngene is best on average over the draws, by task and shots."""
    sums: defaultdict[tuple[str, int], defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in members:
        sums[row.task, row.shots][row.column] += row.accuracy
    return {place: max(by_site, key=lambda name: by_site[name]) for place, by_site in sums.items()}


def _oracles(bench: "Benchmark", members: list[Row]) -> list[Row]:
    """The best single learngene of every episode, and that of every task; both look at the test images."""
    best = _best(members)
    by_episode: defaultdict[tuple[str, int, int], dict[str, Row]] = defaultdict(dict)
    for row in members:
        by_episode[row.task, row.draw, row.shots][row.column] = row
    out = []
    for (task, _, shots), own in by_episode.items():
        first = next(iter(own.values()))
        for column, value in (
            (names.ORACLE, max(row.accuracy for row in own.values())),
            (names.ORACLE_TASK, own[best[task, shots]].accuracy),
        ):
            out.append(Row(names.MAIN, task, first.kind, first.draw, shots, column, str(bench.size), 0, value))
    return out


def _answered(bench: "Benchmark", label: str, asked: list[Asked]) -> list[Row]:
    """Compute what is asked for; starts whose features are there need no forward pass."""
    store, together = bench.lab.store, defaultdict[tuple[str, Start, Size], dict[str, Shown]](dict)
    for question in asked:
        if not question.epochs and _has_features(bench, question):
            together[question.task.name, question.start, question.size][question.one.key] = question.one
    probes = {
        place: Probe(bench.blueprint, place[1], place[2], tuple(shown.values())) for place, shown in together.items()
    }
    measures = [
        None
        if not question.epochs and (question.task.name, question.start, question.size) in probes
        else Measure(bench.blueprint, question.start, question.size, question.one, question.epochs)
        for question in asked
    ]
    bench.compute(label, [*probes.values(), *(cell for cell in measures if cell is not None)])
    measured = []
    records = {place: _by_episode(store.record(cell.key)["accuracy"], cell) for place, cell in probes.items()}
    for question, cell in zip(asked, measures, strict=True):
        if cell is None:
            values = {"0": records[question.task.name, question.start, question.size][question.one.key]}
        else:
            values = store.record(cell.key)["accuracy"]
        measured += [_row(question, int(epochs), value) for epochs, value in values.items()]
    return measured


def _has_features(bench: "Benchmark", one: Asked) -> bool:
    return all(
        bench.lab.store.has(Features(bench.blueprint, one.start, one.size, digest).key) for _, digest in one.one.banks
    )


def _by_episode(values: list[float], cell: Probe) -> dict[str, float]:
    return {shown.key: value for shown, value in zip(cell.shown, values, strict=True)}


def _row(one: Asked, epochs: int, value: float) -> Row:
    episode = one.one.episode
    return Row(
        one.table, one.task.name, one.task.kind, episode.draw, episode.shots, one.column, str(one.size), epochs, value
    )
