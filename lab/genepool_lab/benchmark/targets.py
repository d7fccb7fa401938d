"""What was asked for, what was measured, and whether it was reached."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.play import Found
from genepool_lab.benchmark.statistics import Gain, gain, where
from genepool_lab.benchmark.table import Table, images, text
from genepool_lab.benchmark.tasks import KINDS

_HIT: Final = 95


def targets(found: Found) -> Table:
    """What was asked for, what was measured, and whether it was reached."""
    shots, fewest = found.plan.shots_once, min(found.plan.shots)

    def against(column: str, kinds: Sequence[str], shots: int = shots) -> Gain | None:
        rows = [row for row in where(found.rows, table=names.MAIN, shots=shots) if row.kind in kinds]
        return gain(where(rows, column=names.TALS), where(rows, column=column))

    covered = [case for case in found.selections if case["kind"] == "covered" and case["shots"] == shots]
    taken = [case for case in covered if case["weights"]]
    grown = where(found.rows, table=names.GROWTH)
    most = f"{names.TALS} | the sites + {max(found.plan.irrelevant)} irrelevant"
    direct = where(found.rows, table=names.SIZES, column=names.DIRECT)
    by_size = [
        gain(where(found.rows, table=names.SIZES, column=names.TALS, size=str(size)), where(direct, size=str(size)))
        for size in found.plan.sizes
    ]
    worst_size = min((case for case in by_size if case), key=lambda case: case.mean, default=None)
    uncovered = ("related", "unrelated")
    checks: list[tuple[str, float, Gain | None]] = [
        ("TALS - oracle single (per task)", -0.5, against(names.ORACLE_TASK, KINDS)),
        ("TALS - oracle single (per episode)", -0.5, against(names.ORACLE, KINDS)),
        ("TALS - joint training", -1.0, against(names.JOINT, KINDS)),
        ("TALS - seed, covered", 10.0, against(names.SEED, ("covered",))),
        (f"TALS - seed, covered, {images(fewest)}", 10.0, against(names.SEED, ("covered",), fewest)),
        ("TALS - seed, uncovered", -0.5, against(names.SEED, uncovered)),
        (
            f"{max(found.plan.irrelevant)} irrelevant members",
            -0.3,
            gain(where(grown, column=most), where(grown, column=f"{names.TALS} | the sites")),
        ),
        ("TALS - distilled directly, worst size", -2.0, worst_size),
    ]
    lines = []
    for what, hits in (
        ("heaviest weight on the right site, covered", [case["hit"] for case in covered]),
        ("the same, where TALS did not keep to the seed", [case["hit"] for case in taken]),
        ("nearest domain embedding is the right site's, covered", [case["nearest_hit"] for case in covered]),
    ):
        share = 100 * float(np.mean(hits)) if hits else float("nan")
        lines.append([what, f">= {_HIT} %", f"{share:.0f} % of {len(hits)}", "yes" if share >= _HIT else "NO"])
    for what, target, value in checks:
        reached = "" if value is None else "yes" if value.mean >= target else "NO"
        lines.append([what, f">= {target:+.1f}", text(value), reached])
    return Table(
        "targets",
        f"Targets, {images(shots)}, no fine-tuning",
        ["what", "wanted", "measured", "reached"],
        lines,
        "Points of accuracy with 95 % paired bootstrap intervals; reached: by the mean.",
    )
