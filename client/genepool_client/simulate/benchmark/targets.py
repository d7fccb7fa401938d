"""What was asked for, what was measured, and whether it was reached."""

from collections.abc import Sequence

import numpy as np

from genepool_client.simulate.benchmark import rows as names
from genepool_client.simulate.benchmark.play import Found
from genepool_client.simulate.benchmark.statistics import Gain, gain, where
from genepool_client.simulate.benchmark.table import Table, images, text
from genepool_client.simulate.benchmark.tasks import KINDS


def targets(found: Found) -> Table:
    """What was asked for, what was measured, and whether it was reached."""
    shots = found.plan.shots_once
    rows = where(found.rows, table=names.MAIN, shots=shots)
    ours = where(rows, column=names.TALS)

    def against(column: str, kinds: Sequence[str]) -> Gain | None:
        return gain([r for r in ours if r.kind in kinds], [r for r in where(rows, column=column) if r.kind in kinds])

    covered = [one["hit"] for one in found.selections if one["kind"] == "covered" and one["shots"] == shots]
    hit = 100 * float(np.mean(covered)) if covered else float("nan")
    grown = where(found.rows, table=names.GROWTH)
    most = f"{names.TALS} | the sites + {max(found.plan.irrelevant)} irrelevant"
    direct = where(found.rows, table=names.SIZES, column=names.DIRECT)
    by_size = [
        gain(where(found.rows, table=names.SIZES, column=names.TALS, size=str(size)), where(direct, size=str(size)))
        for size in found.plan.sizes
    ]
    worst_size = min((one for one in by_size if one), key=lambda one: one.mean, default=None)
    uncovered = ("related", "unrelated")
    checks: list[tuple[str, float, Gain | None]] = [
        ("TALS - oracle single (per task)", -0.5, against(names.ORACLE_TASK, KINDS)),
        ("TALS - oracle single (per episode)", -0.5, against(names.ORACLE, KINDS)),
        ("TALS - joint training", -1.0, against(names.JOINT, KINDS)),
        ("TALS - seed, covered", 10.0, against(names.SEED, ("covered",))),
        ("TALS - seed, uncovered", -0.5, against(names.SEED, uncovered)),
        (
            f"{max(found.plan.irrelevant)} irrelevant members",
            -0.3,
            gain(where(grown, column=most), where(grown, column=f"{names.TALS} | the sites")),
        ),
        ("TALS - distilled directly, worst size", -2.0, worst_size),
    ]
    lines = [["right site in covered tasks", ">= 95 %", f"{hit:.0f} %", "yes" if hit >= 95 else "NO"]]
    for what, wanted, value in checks:
        reached = "" if value is None else "yes" if value.mean >= wanted else "NO"
        lines.append([what, f">= {wanted:+.1f}", text(value), reached])
    return Table(
        "targets",
        f"Targets, {images(shots)}, no fine-tuning",
        ["what", "wanted", "measured", "reached"],
        lines,
        "Points of accuracy with 95 % paired bootstrap intervals; reached: by the mean.",
    )
