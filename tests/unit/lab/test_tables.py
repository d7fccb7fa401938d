"""Tables and plots of measured rows: every figure is where a reader looks for it."""

import json
from dataclasses import replace

import pytest

from genepool_lab.benchmark import plan, report
from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.play import Found
from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.tables import tables
from genepool_lab.benchmark.tasks import Task
from genepool_protocol.learngene.blueprint import bundled_folder, parse_blueprint

BLUEPRINT = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
PLAN = plan.with_sizes(replace(plan.quick(), shots=(1, 5), epochs=(1, 10)), BLUEPRINT)
TASKS = [
    Task("a", "covered", ("a",)),
    Task("b", "covered", ("b",)),
    Task("a + b", "mixture", ("a", "b")),
    Task("c", "related", ("c",), "a"),
    Task("d", "unrelated", ("d",)),
]
STAGES = ("the sites", "the sites + 2 irrelevant", "2 irrelevant", "2 irrelevant + half of the sites")


def found(ours=0.7, others=0.5, covered=0.7):
    """Every start gets `others`, TALS `ours`, and `covered` where a domain is covered."""
    rows = []

    def add(table, column, task, draw, shots, size, epochs=0):
        best = covered if task.kind == "covered" else ours
        value = best if column.startswith(names.TALS) else others
        rows.append(Row(table, task.name, task.kind, draw, shots, column, str(size), epochs, value))

    for task in TASKS:
        for draw in range(3):
            for shots in PLAN.shots:
                for column in names.COLUMNS:
                    if (column, shots) != (names.KNN, 1):
                        add(names.MAIN, column, task, draw, shots, PLAN.size)
                for column in names.TUNED:
                    for epochs in (0, *PLAN.epochs):
                        add(names.EPOCHS, column, task, draw, shots, PLAN.tuned, epochs)
            for stage in STAGES:
                for column in (names.TALS, names.SOUP):
                    add(names.GROWTH, f"{column} | {stage}", task, draw, 5, PLAN.tuned)
            add(names.GROWTH, f"{names.SEED} | no pool", task, draw, 5, PLAN.tuned)
            for column in (names.SEED, names.SOUP, names.TALS, names.RESIDUAL, names.RESIDUAL_SUM):
                add(names.SEQUENTIAL, column, task, draw, 5, PLAN.size)
            for size in PLAN.sizes:
                for column in (names.SCRATCH, names.SEED, names.SELECTION, names.TALS, names.OWN, names.DIRECT):
                    if task.kind == "covered":
                        add(names.SIZES, column, task, draw, 5, size)
    made = Found(PLAN, TASKS, rows)
    made.selections = [
        {
            "task": task.name, "kind": task.kind, "draw": draw, "shots": shots, "choice": "single",
            "weights": {"a": 1.0}, "nearest": "a", "hit": "a" in task.right, "nearest_hit": "a" in task.right,
            "reason": "", "seconds": 0.5,
        }
        for task in TASKS for draw in range(3) for shots in PLAN.shots
    ]  # fmt: skip
    facts = {"images": 10, "bytes": 4_000_000, "ancestry_seconds": 3.0, "condense_seconds": 2.0, "accuracy": 0.5}
    made.sites = [{"site": name, "classes": 5, "agreement": 0.9, **facts} for name in ("a", "b", "all")]
    made.stage_seconds = dict.fromkeys(STAGES, 0.2)
    return made


def table(made, name):
    return next(one for one in tables(made, BLUEPRINT) if one.name == name)


def line(made, name, start):
    one = table(made, name)
    return dict(zip(one.head, next(cells for cells in one.lines if cells[0] == start), strict=True))


def test_every_table_has_as_many_cells_in_each_line_as_in_its_head():
    for one in tables(found(), BLUEPRINT):
        assert one.lines, one.name
        assert {len(cells) for cells in one.lines} == {len(one.head)}, one.name
        assert one.markdown().count("\n| ") == len(one.lines) + 2


def test_the_main_table_has_every_column_and_an_empty_cell_where_nothing_can_be_said():
    assert [cells[0] for cells in table(found(), "main-1").lines] == list(names.COLUMNS)
    assert line(found(), "main-5", names.TALS)["unrelated"] == ".700"
    assert line(found(), "main-1", names.KNN)["all"] == ""
    assert line(found(), "gains-5", names.SEED)["mixture"] == "+20.0 (+20.0 to +20.0)"


def test_targets_say_no_where_they_are_missed():
    reached = {cells[0]: cells[3] for cells in table(found(), "targets").lines}
    assert reached["TALS - seed, covered"] == "yes"
    assert reached["TALS - seed, covered, 1 image a class"] == "yes"
    assert reached["heaviest weight on the right site, covered"] == "NO"  # only a's tasks were right
    made = found()
    for one in made.selections:
        one["weights"], one["nearest_hit"] = ({"a": 1.0} if one["hit"] else {}), True
    measured = {cells[0]: cells[2:] for cells in table(made, "targets").lines}
    assert measured["heaviest weight on the right site, covered"] == ["50 % of 6", "NO"]
    assert measured["the same, where TALS did not keep to the seed"] == ["100 % of 3", "yes"]
    assert measured["nearest domain embedding is the right site's, covered"] == ["100 % of 6", "yes"]
    missed = {cells[0]: cells[3] for cells in table(found(ours=0.4, covered=0.55), "targets").lines}
    assert missed["TALS - seed, covered"] == "NO"
    assert missed["TALS - seed, uncovered"] == "NO"


def test_what_was_chosen_counts_hits_losses_and_the_worst_task():
    shown = line(found(ours=0.4), "selection", "5")
    assert shown["right site, covered"] == "50%"
    assert shown["right site, mixtures"] == "100%"
    assert shown["below the seed (mean loss)"] == "60% (-10.0)"
    assert shown["worst task against the seed"].endswith("-10.0")


def test_the_report_says_in_json_what_it_says_in_markdown_and_draws_five_plots(tmp_path):
    made = report.write(found(), BLUEPRINT, tmp_path, {"sites": 60.0})
    content = json.loads((tmp_path / "bench.json").read_text())
    assert [one["name"] for one in content["tables"]] == [one.name for one in made]
    page = (tmp_path / "bench.md").read_text()
    for one in made:
        assert one.markdown() in page
    for name in ("gains", "epochs", "growth", "sizes", "weights"):
        assert f"{name}.png" in page
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_a_table_without_rows_of_a_kind_stays_whole():
    made = found()
    made.rows = [row for row in made.rows if row.kind != "related"]
    assert line(made, "main-5", names.TALS)["related"] == ""
    assert line(made, "main-5", names.TALS)["all"] == ".700"
    assert line(made, "gains-5", names.SEED)["all"] == pytest.approx("+20.0 (+20.0 to +20.0)")
