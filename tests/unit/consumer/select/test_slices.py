"""The cache of thin slices: what it keeps, and what has to go."""

import os

import pytest

from genepool_client.consumer.select import slices
from genepool_client.transport.channel import Connection
from genepool_protocol.learngene.blueprint import Blueprint
from tests.support.trust import TrustRoot


@pytest.fixture
def kept(forge, tmp_path, monkeypatch):
    """Three slices of a hundred bytes, the oldest first, and who looks after them."""
    monkeypatch.setattr(slices, "_ROOM", 250)
    blueprint: Blueprint = forge.blueprint
    with Connection(TrustRoot(tmp_path / "root", forge.trusted).anchors(), cache=tmp_path / "cache") as connection:
        keeper = slices.Slices(connection, blueprint)
        folder = tmp_path / "cache" / "thin" / connection.anchors.root_sha256[:16] / blueprint.sha256
        folder.mkdir(parents=True)
        for age, name in enumerate("abc"):
            path = folder / f"{name * 64}-{'0' * 64}.safetensors"
            path.write_bytes(bytes(100))
            os.utime(path, (1000 + age, 1000 + age))
        yield keeper, lambda: sorted(path.name[0] for path in folder.iterdir())


def test_what_was_unused_the_longest_goes_beyond_the_room(kept):
    keeper, names = kept
    keeper.tidy(["a" * 64, "b" * 64, "c" * 64])
    assert names() == ["b", "c"]


def test_what_the_pool_does_not_list_goes_at_once(kept):
    keeper, names = kept
    keeper.tidy(["a" * 64, "b" * 64])
    assert names() == ["a", "b"]
    keeper.tidy([])
    assert names() == []
