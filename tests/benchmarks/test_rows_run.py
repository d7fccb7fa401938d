"""The rows run; what they say is for `make bench`, on a quiet machine."""

import math

import pytest

from tests.benchmarks.ingest import ingest
from tests.benchmarks.load import load
from tests.benchmarks.memory import memory
from tests.benchmarks.rows import ROWS
from tests.benchmarks.streaming import streaming
from tests.benchmarks.watching import watching


@pytest.mark.parametrize(
    "row",
    [*ROWS, streaming, ingest, *(pytest.param(row, marks=pytest.mark.slow) for row in (load, watching, memory))],
    ids=lambda row: row.__name__,
)
def test_a_row_runs_on_tiny_sizes(row):
    found = row(True)
    for line in found if isinstance(found, list) else [found]:
        assert math.isfinite(line.value)
        assert line.value > 0
