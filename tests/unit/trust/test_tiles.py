"""The log as static files: paths, bundles and hashes of C2SP tlog-tiles."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.trust import merkle, tiles
from genepool_protocol.trust.tiles import Tile
from genepool_protocol.wire.errors import GenepoolError


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile("tile/0", 1234067, 256), "tile/0/x001/x234/067"),  # the specification's own example
        (Tile("tile/0", 0, 1), "tile/0/000.p/1"),
        (Tile("tile/1", 999, 255), "tile/1/999.p/255"),
        (Tile("tile/2", 1000, 256), "tile/2/x001/000"),
        (Tile("tile/entries", 12, 7), "tile/entries/012.p/7"),
        (Tile("statements", 256, 256), "statements/256"),
    ],
)
def test_a_tile_lies_where_c2sp_says(tile, path):
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(
    kind=st.sampled_from(["tile/0", "tile/63", "tile/entries", "statements"]),
    number=st.integers(0, 10**12),
    width=st.integers(1, 256),
)
def test_every_path_is_read_as_it_is_written(kind, number, width):
    assert Tile.parse(Tile(kind, number, width).path) == Tile(kind, number, width)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "checkpoint",
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/64/001",
            "tile/0/x000/001",
            "tile/0/x001/x002",
        ),
        *("tile/0/001.p/0", "tile/0/001.p/256", "tile/0/001.p/01", "tile/0/001/", "/tile/0/001", "tile/0/../../keys"),
        *(
            "tile/entries/../../ledger.sqlite",
            "tile/0/001\n",
            "tile/data/001",
            "statements/x",
            "tile/0/\u0661\u0662\u0663",
        ),
    ],
)
def test_a_path_that_names_no_tile_is_refused_whatever_tricks_it_tries(path):
    with pytest.raises(GenepoolError) as caught:
        Tile.parse(path)
    assert caught.value.reason == "LOG_RANGE"


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_a_bundle_gives_back_its_entries_and_no_other_number_of_them(entries):
    raw = tiles.bundle(entries)
    assert tiles.unbundle(raw, len(entries)) == entries
    for wrong in (len(entries) + 1, len(entries) - 1):
        if wrong >= 0:
            with pytest.raises(GenepoolError) as caught:
                tiles.unbundle(raw, wrong)
            assert caught.value.reason == "LOG_INVALID"


@given(st.binary(max_size=80), st.integers(0, 5))
def test_any_bytes_are_a_bundle_or_refused(raw, count):
    try:
        assert tiles.bundle(tiles.unbundle(raw, count)) == raw
    except GenepoolError as exc:
        assert exc.reason == "LOG_INVALID"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
def test_the_tiles_of_every_level_hold_the_hashes_of_the_tree(size):
    leaves = [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(size)]
    tree, found = merkle.Tree(leaves), list(tiles.tiles(size))
    level_0 = b"".join(tiles.hashes(tree, tile) for tile in found if tile.level == 0)
    assert level_0 == b"".join(leaves)
    for tile in (one for one in found if one.level == 1):
        raw = tiles.hashes(tree, tile)
        assert len(raw) == 32 * tile.width
        for place in range(tile.width):
            first = 256 * (tile.start + place)
            assert raw[32 * place : 32 * place + 32] == merkle.Tree(leaves[first : first + 256]).root()
    assert [tile.width for tile in found if tile.level == 0] == [256] * (size // 256) + [size % 256] * (size % 256 > 0)
    assert len({tile.path for tile in found}) == len(found)
