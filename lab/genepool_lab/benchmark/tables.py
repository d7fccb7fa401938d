"""The tables of a benchmark, as values: Markdown and JSON say the same."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.cells import FINETUNING
from genepool_lab.benchmark.play import Found
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.statistics import differences, gain, where, worst
from genepool_lab.benchmark.table import Table, accuracy, images, of_kind, text
from genepool_lab.benchmark.targets import targets
from genepool_lab.benchmark.tasks import KINDS
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size

_GROUPS: Final = ("all", *KINDS)
_LESS: Final = 0.5  # points below the seed that count as negative transfer


def tables(found: Found, blueprint: Blueprint) -> list[Table]:
    """All of them, in the order in which they are read."""
    rows = found.rows
    out = [targets(found)]
    for shots in found.plan.shots:
        out += [_main(found, shots), _gains(found, shots)]
    out += [_epochs(found, shots) for shots in found.plan.shots]
    out += [_selection(found), _by_task(found)]
    out += [_sizes(where(rows, table=names.SIZES), found, blueprint)]
    out += [_growth(where(rows, table=names.GROWTH), found)]
    out += [_sequential(where(rows, table=names.SEQUENTIAL), found)]
    return [*out, _cost(found)]


def _main(found: Found, shots: int) -> Table:
    rows = where(found.rows, table=names.MAIN, shots=shots)
    lines = [
        [column, *(accuracy(of_kind(where(rows, column=column), group)) for group in _GROUPS)]
        for column in names.COLUMNS
    ]
    return Table(
        f"main-{shots}",
        f"Accuracy, {images(shots)}, no fine-tuning, size {found.plan.size}",
        ["start", *_GROUPS],
        lines,
        "A closed-form head on fixed features. Both oracles look at the test images; per episode, that flatters them.",
    )


def _gains(found: Found, shots: int) -> Table:
    rows = where(found.rows, table=names.MAIN, shots=shots)
    ours = where(rows, column=names.TALS)
    lines = [
        [column, *(text(gain(of_kind(ours, group), of_kind(where(rows, column=column), group))) for group in _GROUPS)]
        for column in names.COLUMNS
        if column != names.TALS
    ]
    return Table(
        f"gains-{shots}",
        f"Points that TALS gains, {images(shots)}",
        ["against", *_GROUPS],
        lines,
        "95 % paired bootstrap intervals over tasks and draws.",
    )


def _epochs(found: Found, shots: int) -> Table:
    rows = where(found.rows, table=names.EPOCHS, shots=shots)
    budgets = (0, *found.plan.epochs)
    lines = []
    for column in names.TUNED:
        own = where(rows, column=column)
        line = [accuracy(where(own, epochs=epochs)) for epochs in budgets]
        against = [
            text(gain(where(rows, column=names.TALS, epochs=e), where(own, epochs=e))) if column != names.TALS else ""
            for e in budgets
        ]
        lines.append([column, *line, *against])
    head = [f"{epochs} epoch{'s' * (epochs != 1)}" for epochs in budgets]
    note = (
        "Every start trains on the same labels for the same steps, by the loop of `genepool finetune` at its "
        f"highest rate, {FINETUNING.lr:g}; each budget is a schedule of its own. Scratch and seed: training on "
        f"the target alone. At size {found.plan.tuned} FedAvg's net, of the reference size, is its projection."
    )
    title = f"Fine-tuning on the support set, {images(shots)}, all tasks"
    return Table(f"epochs-{shots}", title, ["start", *head, *(f"TALS gains, {budget}" for budget in head)], lines, note)


def _selection(found: Found) -> Table:
    """How often the right site was found, and what choosing cost where no site was right."""
    lines = []
    for shots in found.plan.shots:
        said = [row for row in found.selections if row["shots"] == shots]
        rows = where(found.rows, table=names.MAIN, shots=shots)
        pairs = differences(where(rows, column=names.TALS), where(rows, column=names.SEED))
        losses = [value for value in pairs.values() if value < -_LESS]
        task, low = worst(pairs)
        hits = [_share([row["hit"] for row in said if row["kind"] == kind]) for kind in ("covered", "mixture")]
        nearest = _share([row["nearest_hit"] for row in said if row["kind"] == "covered"])
        choices = [_share([row["choice"] == choice for row in said]) for choice in ("seed", "single", "combination")]
        seconds = float(np.mean([row["seconds"] for row in said]))
        lost = f"{len(losses) / len(pairs):.0%}" + (f" ({np.mean(losses):.1f})" if losses else "")
        lines.append([str(shots), *hits, nearest, *choices, lost, f"{task}: {low:+.1f}", f"{seconds:.1f}"])
    head = ["images a class", "right site, covered", "right site, mixtures", "right key, covered", "seed", "single"]
    head += ["combination", "below the seed (mean loss)", "worst task against the seed", "seconds"]
    return Table(
        "selection",
        "What TALS chose",
        head,
        lines,
        f"Right: the heaviest weight is on a site of the task's domain. Below the seed: by more than {_LESS} points.",
    )


def _share(values: Sequence[bool]) -> str:
    return f"{np.mean(values):.0%}" if values else ""


def _by_task(found: Found) -> Table:
    shots = found.plan.shots_once
    rows = where(found.rows, table=names.MAIN, shots=shots)
    columns = (names.SCRATCH, names.SEED, names.BY_EMBEDDING, names.TALS, names.ORACLE_TASK, names.JOINT)
    lines = []
    for task in found.tasks:
        own = where(rows, task=task.name)
        said = [entry for entry in found.selections if (entry["task"], entry["shots"]) == (task.name, shots)]
        sums: dict[str, float] = {}
        for entry in said:
            for name, weight in entry["weights"].items():
                sums[name] = sums.get(name, 0.0) + weight / len(said)
        chosen = sorted(sums.items(), key=lambda item: -item[1])[:3]
        picked = ", ".join(f"{name} {weight:.2f}" for name, weight in chosen) or "the seed"
        kind = f"{task.kind} ({task.relative})" if task.relative else task.kind
        lines.append([task.name, kind, *(accuracy(where(own, column=column)) for column in columns), picked])
    title = f"Task by task, {images(shots)}, no fine-tuning, size {found.plan.size}"
    return Table("tasks", title, ["task", "kind", *columns, "mean weights"], lines)


def _sizes(rows: Sequence[Row], found: Found, blueprint: Blueprint) -> Table:
    columns = (names.SCRATCH, names.SEED, names.SELECTION, names.TALS, names.OWN, names.DIRECT)
    lines = []
    for size in found.plan.sizes:
        own = where(rows, size=str(size))
        direct = where(own, column=names.DIRECT)
        cells = [accuracy(where(own, column=column)) for column in columns]
        lines.append(
            [str(size), f"{_parameters(blueprint, size)}", *cells, text(gain(where(own, column=names.TALS), direct))]
        )
    return Table(
        "sizes",
        f"Sizes (layers, heads), {images(found.plan.shots_once)}, {found.plan.size_domains} covered domains",
        ["size", "parameters", *columns, "TALS against direct"],
        lines,
        "Distilled directly: from the seed's descendant, with condensing's losses and steps, for that one size alone.",
    )


def _parameters(blueprint: Blueprint, size: Size) -> str:
    return f"{blueprint.params(size) / 1000:,.0f}k"


def _growth(rows: Sequence[Row], found: Found) -> Table:
    stages = list(dict.fromkeys(row.column.split(" | ")[1] for row in rows))
    base = where(rows, column=f"{names.TALS} | the sites")
    lines = []
    for stage in stages:
        column = names.TALS if f"{names.TALS} | {stage}" in {row.column for row in rows} else names.SEED
        own = where(rows, column=f"{column} | {stage}")
        cells = [accuracy(of_kind(own, group)) for group in _GROUPS]
        soup = accuracy(where(rows, column=f"{names.SOUP} | {stage}"))
        took = f"{found.stage_seconds[stage]:.1f}" if stage in found.stage_seconds else ""
        lines.append([f"{column}, {stage}", *cells, text(gain(own, base)), soup, took])
    return Table(
        "growth",
        f"A growing pool, {images(found.plan.shots_once)}, size {found.plan.tuned}",
        ["pool", *_GROUPS, "against the sites alone", "uniform soup of it", "TALS seconds"],
        lines,
        "Irrelevant members are real trainings on five classes each of domains that no task is made of "
        f"(the first {found.plan.fully_trained} with all steps, the others with a tenth).",
    )


def _sequential(rows: Sequence[Row], found: Found) -> Table:
    columns = (names.SEED, names.SOUP, names.TALS, names.RESIDUAL, names.RESIDUAL_SUM)
    ours = where(rows, column=names.TALS)
    lines = [
        [
            column,
            *(accuracy(of_kind(where(rows, column=column), group)) for group in _GROUPS),
            text(gain(ours, where(rows, column=column))) if column != names.TALS else "",
        ]
        for column in columns
    ]
    return Table(
        "sequential",
        f"Independent deltas against a sequential pool, {images(found.plan.shots_once)}, size {found.plan.size}",
        ["start", *_GROUPS, "TALS on independent deltas gains"],
        lines,
        "Sequential: each learngene is condensed on top of the frozen sum of the earlier ones, in one order.",
    )


def _cost(found: Found) -> Table:
    lines = []
    for place, site in enumerate(found.sites):
        seconds = site["ancestry_seconds"] + site["condense_seconds"]
        joint = place == len(found.sites) - 1
        retained = site["images"] if joint else 0
        cells = [str(int(site["images"])), str(retained), f"{seconds:.0f}", f"{site['bytes'] / 1e6:.2f}"]
        agreement = "" if site["agreement"] is None else f"{site['agreement']:.2f}"
        number = "all at once" if joint else str(place + 1)
        lines.append([number, site["site"], *cells, f"{site['accuracy']:.2f}", agreement])
    return Table(
        "cost",
        "Cost of adding the N-th site",
        [
            "N",
            "site",
            "its images",
            "images retained by others",
            "core seconds",
            "MB added",
            "accuracy at home",
            "agreement",
        ],
        lines,
        "Adding a site costs its own training and nothing else. The last line is training on all images at once, which "
        "every further site would repeat.",
    )
