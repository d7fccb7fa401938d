"""The file that says how much of the log was published."""

from pathlib import Path

import pytest

from genepool_server.pool.log.published_head import NOTHING, HeadStore, Published


@pytest.mark.parametrize("reader", ["read_bytes", "read_text"])
def test_a_head_that_is_replaced_while_it_is_read_is_one_of_the_two(tmp_path, monkeypatch, reader):
    path, real = tmp_path / "log.size", getattr(Path, reader)
    HeadStore(path).create()
    old, new = NOTHING, Published(1, b"\1" * 32)
    later = tmp_path / "later"
    HeadStore(later).create()
    HeadStore(later).advance(old, new)

    def read_and_lose_the_race(self, *arguments):
        found = real(self, *arguments)
        if later.exists():
            later.replace(path)
        return found

    monkeypatch.setattr(Path, reader, read_and_lose_the_race)
    assert HeadStore(path).read() in (old, new)
    assert later.exists() or HeadStore(path).read() == new
