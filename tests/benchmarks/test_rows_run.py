"""The rows run; what they say is for `make bench`, on a quiet machine."""

import math

import pytest

from tests.benchmarks.rows import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_a_row_runs_on_tiny_sizes(row):
    found = row(True)
    for line in found if isinstance(found, list) else [found]:
        assert math.isfinite(line.value)
        assert line.value > 0
