"""Run every row, print the table, write out/bench.json."""

import argparse
import json
import platform
from pathlib import Path

from rich.console import Console  # noqa: TID251 - only our own numbers
from rich.table import Table

from tests.benchmarks.ingest import ingest
from tests.benchmarks.load import load
from tests.benchmarks.memory import memory
from tests.benchmarks.rows import ROWS
from tests.benchmarks.streaming import streaming
from tests.benchmarks.watching import watching


def measure(quick: bool) -> list:
    """All rows, in order."""
    rows = []
    for function in (*ROWS, streaming, ingest, load, watching, memory):
        found = function(quick)
        rows += found if isinstance(found, list) else [found]
    return rows


def main() -> None:
    """Entry point of `make bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether the rows run, not what they say")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"))
    options = parser.parse_args()
    rows = measure(options.quick)
    table = Table("what", "value", "target", "verdict", "detail", box=None, pad_edge=False)
    for row in rows:
        target = "-" if row.target is None else f"{'>=' if row.higher else '<='} {row.target:.3g} {row.unit}"
        table.add_row(row.what, f"{row.value:.3g} {row.unit}", target, row.verdict, row.detail)
    Console(width=150).print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": platform.processor() or platform.machine(), "rows": [row.as_json() for row in rows]}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
