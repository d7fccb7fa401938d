"""The log's full tiles on disk, and the static copy that anybody can serve."""

import shutil

import pytest

from genepool_protocol.trust import checkpoint, merkle, tiles
from genepool_protocol.wire.errors import GenepoolError
from genepool_server import durable
from genepool_server.pool.log import tile_files
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import fsck


def grow(pool, count):
    """So many leaves, quickly: a site is suspended and approved again and again."""
    while int(pool.heads.latest().split("\n")[1]) < count:
        (pool.sites.suspend if pool.sites.get("site-a").state == "ACTIVE" else pool.sites.approve)("site-a")


@pytest.fixture(scope="module")
def long(template, tmp_path_factory):
    """A pool whose log has 260 leaves."""
    target = tmp_path_factory.mktemp("long") / "pool"
    shutil.copytree(template[0], target)
    with OpenPool.open(target) as pool:
        grow(pool, 260)
    return target


@pytest.fixture
def folder(long, tmp_path):
    shutil.copytree(long, tmp_path / "pool")
    return tmp_path / "pool"


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_full_tiles_are_files_and_partial_ones_are_made_on_demand(folder):
    assert files(folder / "tiles") == ["statements/000", "tile/0/000", "tile/entries/000"]
    with OpenPool.open(folder) as pool:
        for tile in tiles.tiles(260):
            raw = pool.log.tile(tile.path)
            assert raw
            if (folder / "tiles" / tile.path).is_file():
                assert (folder / "tiles" / tile.path).read_bytes() == raw
        for path in ("tile/0/001.p/5", "tile/0/001", "tile/1/000.p/2", "tile/entries/002.p/1", "nothing"):
            with pytest.raises(GenepoolError) as caught:
                pool.log.tile(path)
            assert caught.value.reason == "LOG_RANGE"


def test_a_static_copy_holds_the_whole_log_and_grows_with_it(folder, tmp_path):
    target = tmp_path / "copy"
    with OpenPool.open(folder) as pool:
        tile_files.export(target, 260, pool.heads.latest(), pool.log.tile)
        grow(pool, 300)
        tile_files.export(target, 300, pool.heads.latest(), pool.log.tile)
        head = checkpoint.verify((target / "checkpoint").read_text(), pool.log.keys)
        found = list(tiles.entries(lambda path: (target / path).read_bytes(), 300))
        assert [body for body, _ in found] == [*pool.log.entries(0, 256), *pool.log.entries(256, 256)]
    assert merkle.Tree(merkle.leaf_hash(body) for body, _ in found).root() == head.root
    assert head.size == 300


def test_a_tile_that_is_missing_is_written_again_when_the_pool_opens(folder):
    path = folder / "tiles" / "tile" / "0" / "000"
    before = path.read_bytes()
    path.unlink()
    assert [problem.where for problem in fsck(folder)] == ["tile/0/000"]
    OpenPool.open(folder).close()
    assert path.read_bytes() == before
    assert fsck(folder) == []


@pytest.mark.parametrize("name", ["statements/000", "tile/0/000", "tile/entries/000"])
def test_fsck_finds_a_flipped_bit_in_any_tile_and_repair_mends_it(folder, name):
    path = folder / "tiles" / name
    before = path.read_bytes()
    path.write_bytes(before[:99] + bytes([before[99] ^ 4]) + before[100:])
    assert [problem.where for problem in fsck(folder)] == [name]
    with OpenPool.open(folder) as pool:
        assert [problem.where for problem in fsck(folder)] == [name], "opening does not read every tile"
        assert pool.log.repair() == [name]
    assert path.read_bytes() == before
    assert fsck(folder) == []


def test_a_tile_is_durable_before_anybody_sees_the_leaf_that_filled_it(folder, monkeypatch):
    from genepool_protocol.wire.errors import StorageError

    with OpenPool.open(folder) as pool:
        grow(pool, 511)
        head = pool.heads.latest()
        with monkeypatch.context() as patch:
            patch.setattr(durable, "write", lambda *_: (_ for _ in ()).throw(StorageError("DISK_FULL", "no")))
            with pytest.raises(StorageError):
                grow(pool, 512)
        assert pool.heads.latest() == head
        grow(pool, 513)
        assert (folder / "tiles" / "tile" / "0" / "001").is_file()
    assert fsck(folder) == []
