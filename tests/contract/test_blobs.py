"""What every store of weights must do; a new one is added to `STORES` and gets the same tests."""

import hashlib
import threading

import pytest

from genepool_protocol.wire.errors import StorageError
from genepool_server.pool.blobs import Blobs, FolderBlobs

STORES = {"folder": FolderBlobs}


@pytest.fixture(params=STORES)
def store(request, tmp_path) -> Blobs:
    (tmp_path / "blobs").mkdir()
    return STORES[request.param](tmp_path / "blobs")


def synced(folder, data, name="upload"):
    path = folder / name
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_what_was_published_can_be_read_by_its_digest(store, tmp_path):
    path, sha256 = synced(tmp_path, b"weights")
    assert not store.holds(sha256)
    store.publish(path, sha256)
    assert store.holds(sha256)
    assert store.path(sha256).read_bytes() == b"weights"
    assert not path.exists()
    assert list(store.digests()) == [sha256]


def test_publishing_again_does_nothing(store, tmp_path):
    path, sha256 = synced(tmp_path, b"weights")
    for _ in range(3):
        store.publish(path, sha256)
    again, _ = synced(tmp_path, b"weights", "again")
    store.publish(again, sha256)
    store.publish(store.path(sha256), sha256)
    assert store.path(sha256).read_bytes() == b"weights"
    assert list(store.digests()) == [sha256]


def test_what_is_not_there_is_not_published(store, tmp_path):
    with pytest.raises(StorageError) as caught:
        store.publish(tmp_path / "nothing", "a" * 64)
    assert caught.value.reason == "DISK_FAILED"
    assert not store.holds("a" * 64)
    assert list(store.digests()) == []


def test_many_files_stay_apart(store, tmp_path):
    made = dict(synced(tmp_path, bytes([n]) * n, f"n{n}")[::-1] for n in range(1, 200))
    for sha256, path in made.items():
        store.publish(path, sha256)
    assert set(store.digests()) == set(made)
    assert all(hashlib.sha256(store.path(sha256).read_bytes()).hexdigest() == sha256 for sha256 in made)


def test_threads_may_publish_at_once(store, tmp_path):
    made = dict(synced(tmp_path, bytes([n]), f"n{n}")[::-1] for n in range(64))
    threads = [threading.Thread(target=store.publish, args=(path, sha256)) for sha256, path in made.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(store.digests()) == set(made)


def test_strangers_files_are_not_listed(store, tmp_path):
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    folder = store.path(sha256).parent
    (folder / "notes.txt").write_text("not a blob")
    (folder / ("b" * 63)).write_text("not a digest")
    assert list(store.digests()) == [sha256]
