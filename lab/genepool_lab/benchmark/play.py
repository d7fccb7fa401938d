"""The whole benchmark: train, share, select, measure; every phase computes what the store does not hold yet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genepool_client.simulate.watch import Clock
from genepool_lab.benchmark import fedavg, measuring, rows
from genepool_lab.benchmark.cast import Cast, cast
from genepool_lab.benchmark.cells import Features, Pick, Pool, PoolMember, Search, Select, Shown
from genepool_lab.benchmark.domains import Domain, load
from genepool_lab.benchmark.lab import Cell, Lab, Workers
from genepool_lab.benchmark.plan import BenchmarkPlan, with_sizes
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.starts import SEED, Start, single, uniform
from genepool_lab.benchmark.tasks import Task, tasks
from genepool_lab.benchmark.trainings import Direct, Noise, Residual
from genepool_protocol.learngene.size import Size


@dataclass
class Found:
    """Everything that was found out.

    Attributes:
        plan: how much was done, its sizes settled.
        tasks: in order.
        rows: all accuracies.
        selections: what TALS said, an entry an episode of the main pool.
        sites: facts of every training.
        stage_seconds: mean processor time of TALS by pool of the table of growth.
        seconds: of processor time by phase, of this run alone: what the store held took none.
    """

    plan: BenchmarkPlan
    tasks: list[Task]
    rows: list[Row] = field(default_factory=list)
    selections: list[dict[str, Any]] = field(default_factory=list)
    sites: list[dict[str, Any]] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Benchmark:
    """One run.

    Args:
        lab: blueprint, seed and store.
        plan: how much is done.
        data: folders of domains; empty: the sample pack.
        processes: that compute at the same time.
        clock: is told of every phase.
    """

    def __init__(self, lab: Lab, plan: BenchmarkPlan, data: Sequence[Path], processes: int, clock: Clock) -> None:
        self.lab, self.processes, self.clock = lab, processes, clock
        self.plan = with_sizes(plan, lab.blueprint)
        self.domains: list[Domain] = load(data, lab.blueprint, self.plan, lab.root / "samples")
        self.found = Found(self.plan, tasks(self.domains, self.plan))
        self.blueprint = lab.blueprint.sha256

    @property
    def size(self) -> Size:
        """Of the main table."""
        assert self.plan.size is not None  # noqa: S101 - settled
        return self.plan.size

    @property
    def tuned(self) -> Size:
        """Of the table of epochs."""
        assert self.plan.tuned is not None  # noqa: S101 - settled
        return self.plan.tuned

    def run(self) -> Found:
        """All tables' rows.

        Raises:
            Unavailable: SIMULATION_FAILED, FedAvg did not end.
        """
        self.cast: Cast = cast(self.lab, self.domains, self.found.tasks, self.plan)
        with Workers(self.lab, self.processes) as self._workers:
            self._train()
            self._features()
            self._select()
            self.found.rows = measuring.rows(self)
        return self.found

    # --- training

    def compute(self, label: str, cells: Iterable[Cell]) -> None:
        """Compute what the store does not hold, as one phase."""
        with self.clock.phase(label) as progress:
            self.found.seconds[label] = self._workers.compute(cells, progress)

    def _train(self) -> None:
        everyone = [site for sites in self.cast.sites for site in sites.values()]
        self.compute("sites", [self.cast.joint, *everyone, *self.cast.irrelevant])
        first = list(self.cast.sites[0].values())
        self.residual = Residual(tuple(first))
        covered = first[: self.plan.size_domains]
        self.direct = {(site.name, size): Direct(site, size) for site in covered for size in self.plan.sizes}
        noise = [Noise(site.key) for site in everyone]
        self.compute("sequential pool, direct nets", [self.residual, *self.direct.values(), *noise])
        with self.clock.phase("FedAvg") as progress:
            self.fedavg = fedavg.federated(self.lab, first, self.plan.rounds, self.processes, progress)
        for site in [*first, self.cast.joint]:
            facts = self.lab.store.record(site.key)
            self.found.sites.append(
                {"site": site.name, "classes": len(self.lab.store.record(site.data)["classes"]), **facts}
            )

    # --- what is looked at

    def statics(self, draw: int) -> dict[str, Start]:
        """Starts that do not depend on the support set."""
        keys = [site.key for site in self.cast.trained(draw).values()]
        rng = np.random.default_rng([draw, 11])
        return {
            rows.SCRATCH: Start("scratch", rng=draw),
            rows.SEED: SEED,
            rows.SELECTION: Start("selected"),
            rows.SOUP: uniform(keys),
            rows.RANDOM_MEMBER: single(sorted(keys)[int(rng.integers(len(keys)))]),
            rows.FEDAVG: single(self.fedavg),
            rows.JOINT: single(self.cast.joint.key),
        }

    def shown(self, *, draws: int | None = None, shots: int | None = None) -> list[tuple[Task, Shown]]:
        """Episodes with their tasks: of the first draws, of so many shots, or all."""
        return [
            (task, case)
            for task in self.found.tasks
            for case in self.cast.shown[task.name]
            if (draws is None or case.episode.draw < draws) and shots in {None, case.episode.shots}
        ]

    def pool(self, draw: int) -> Pool:
        """What the sites of a draw contributed."""
        return tuple(PoolMember(site.key) for site in self.cast.trained(draw).values())

    def _random_pool(self, draw: int) -> Pool:
        return tuple(PoolMember(site.key, Noise(site.key).key) for site in self.cast.trained(draw).values())

    def residual_pool(self) -> Pool:
        """The sequential learngenes, each found by its site's key."""
        pairs = zip(self.residual.sites, self.residual.links, strict=True)
        return tuple(PoolMember(site.key, link) for site, link in pairs)

    def stages(self) -> dict[str, Pool]:
        """Pools of the table of growth; sites are those of the first training."""
        sites = [PoolMember(site.key) for site in self.cast.sites[0].values()]
        others = [PoolMember(site.key) for site in self.cast.irrelevant]
        if not others:
            return {"the sites": tuple(sites)}
        most = f"{len(others)} irrelevant"
        pools = {"the sites": tuple(sites)}
        pools |= {f"the sites + {count} irrelevant": (*sites, *others[:count]) for count in self.plan.irrelevant}
        pools[most] = tuple(others)
        pools[f"{most} + half of the sites"] = (*others, *sites[: len(sites) // 2])
        return pools

    def _features(self) -> None:
        shown = self.shown()
        banks = {digest for _, case in shown for _, digest in case.banks}
        static = {start for draw in range(self.plan.draws) for start in self.statics(draw).values()}
        members = {single(site.key) for sites in self.cast.sites for site in sites.values()}
        residual = {Start("gene", tuple((link, 1.0) for link in self.residual.links))}
        score = self.lab.blueprint.score.size()
        pairs = {(start, self.size) for start in static | members | residual}
        pairs |= {(start, size) for start in members for size in {score, self.tuned}}
        pairs |= {(uniform([m.id for m in pool]), self.tuned) for pool in self.stages().values()}
        self.compute(
            "features", [Features(self.blueprint, start, size, bank) for start, size in pairs for bank in banks]
        )

    # --- selection

    def _select(self) -> None:
        cells: list[Cell] = []
        score = self.lab.blueprint.score.size()
        for _, case in self.shown():
            draw = case.episode.draw
            keys = tuple(site.key for site in self.cast.trained(draw).values())
            cells += [self.tals(self.pool(draw), case), self.tals(self._random_pool(draw), case)]
            cells += [
                Pick(self.blueprint, keys, score, case),
                Search(self.blueprint, keys, case, self.plan.evaluations),
            ]
        for _, case in self.shown(draws=self.plan.growth_draws, shots=self.plan.shots_once):
            cells += [self.tals(pool, case) for pool in [*self.stages().values(), self.residual_pool()]]
        self.compute("selection", cells)
        few = self.shown(draws=self.plan.growth_draws, shots=self.plan.shots_once)
        for stage, pool in self.stages().items():
            took = [self.lab.store.record(self.tals(pool, case).key)["seconds"] for _, case in few]
            self.found.stage_seconds[stage] = float(np.mean(took))
        for task, case in self.shown():
            self.found.selections.append(self._selection(task, case))

    def tals(self, pool: Pool, one: Shown) -> Select:
        """TALS on one episode."""
        return Select(self.blueprint, pool, one)

    def answer(self, pool: Pool, one: Shown) -> Start:
        """What TALS chose, as a start; it has been computed."""
        record = self.lab.store.record(self.tals(pool, one).key)
        return Start("gene", tuple((name, milli / 1000) for name, milli in record["weights"]))

    def _selection(self, task: Task, one: Shown) -> dict[str, Any]:
        draw = one.episode.draw
        record = self.lab.store.record(self.tals(self.pool(draw), one).key)
        names = {site.key: site.name for site in self.cast.trained(draw).values()}
        weights = {names[key]: milli / 1000 for key, milli in record["weights"]}
        top = max(weights, key=lambda name: weights[name]) if weights else ""
        return {
            "task": task.name,
            "kind": task.kind,
            "draw": draw,
            "shots": one.episode.shots,
            "choice": record["choice"],
            "weights": weights,
            "nearest": names[record["nearest"]],
            "hit": top in task.right,
            "nearest_hit": names[record["nearest"]] in task.right,
            "reason": record["reason"],
            "seconds": record["seconds"],
        }

    def dynamic(self, one: Shown) -> dict[str, Start]:
        """Starts that the support set chose."""
        draw, store = one.episode.draw, self.lab.store
        keys = tuple(site.key for site in self.cast.trained(draw).values())
        pool = self.pool(draw)
        score = self.lab.blueprint.score.size()
        pick = store.record(Pick(self.blueprint, keys, score, one).key)
        search = store.record(Search(self.blueprint, keys, one, self.plan.evaluations).key)
        chosen = self.answer(pool, one)
        starts = {
            rows.TALS: chosen,
            rows.RANDOM_POOL: self.answer(self._random_pool(draw), one),
            rows.SHUFFLED: _shuffled(chosen, keys, draw),
            rows.BY_EMBEDDING: single(store.record(self.tals(pool, one).key)["nearest"]),
            rows.LOGME: single(pick["logme"]),
            rows.GRADIENT_FREE: Start("gene", tuple((name, weight) for name, weight in search["weights"])),
        }
        if pick["knn"]:
            starts[rows.KNN] = single(pick["knn"])
        return starts


def _shuffled(chosen: Start, keys: Sequence[str], draw: int) -> Start:
    """The weights of a mixture on other members."""
    order = np.random.default_rng([draw, 13]).permutation(len(keys))
    others = [keys[int(i)] for i in order if keys[int(i)] not in dict(chosen.members)]
    return Start("gene", tuple(sorted(zip(others, [w for _, w in chosen.members], strict=False))))
