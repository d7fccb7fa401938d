"""Reading by pages ends, whatever the last page looks like."""

from itertools import islice

import pytest

from genepool_server.pool.rows.pages import PAGE, paged


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1])
@pytest.mark.parametrize("without", [0, 1])
def test_every_row_comes_once_also_when_the_last_ones_have_no_key(count, without):
    rows = [f"{number:05d}" for number in range(count)]

    def read(after: str, most: int) -> list[str]:
        listed = [row for row in rows if row > after][:most]
        return listed if len(listed) == most else [*listed, *[""] * without]

    assert list(islice(paged(read, str, ""), 4 * PAGE)) == [*rows, *[""] * without]
