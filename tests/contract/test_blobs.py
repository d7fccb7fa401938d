"""What every store of weights must do, in a folder and on S3."""

import hashlib
import threading

import obstore
import pytest

from genepool_protocol.wire.errors import GenepoolError, StorageError
from genepool_server.pool.store.blobs import Blobs, FolderBlobs
from genepool_server.pool.store.s3 import S3Blobs
from tests.support import stores
from tests.support.refusals import reason_of

OWNER = "pool.test/log\nkey\n"


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> Blobs:
    made = (
        FolderBlobs(tmp_path / "blobs") if request.param == "folder" else S3Blobs(stores.prefix(), tmp_path / "cache")
    )
    made.create(OWNER)
    return made


@pytest.fixture
def remote(tmp_path):
    """A store on S3, and its place in the bucket."""
    url = stores.prefix()
    made = S3Blobs(url, tmp_path / "cache")
    made.create(OWNER)
    return made, stores.bucket(url)


def synced(folder, data, name="upload"):
    path = folder / name
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_what_was_published_can_be_read_by_its_digest(store, tmp_path):
    path, sha256 = synced(tmp_path, b"weights")
    assert not store.holds(sha256)
    assert store.measure(sha256) is None
    store.publish(path, sha256)
    assert store.holds(sha256)
    assert store.local(sha256) == store.path(sha256)
    assert store.path(sha256).read_bytes() == b"weights"
    assert store.measure(sha256) == (7, sha256)
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
    made = dict(synced(tmp_path, bytes([n]) * n, f"n{n}")[::-1] for n in range(1, 100))
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


def test_what_was_erased_is_gone_and_who_has_it_mapped_reads_zeros(store, tmp_path):
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    with store.local(sha256).open("rb", buffering=0) as mapped:
        store.erase(sha256)
        assert mapped.read() == bytes(7)
    store.erase(sha256)
    assert not store.holds(sha256)
    assert not store.path(sha256).exists()
    assert store.measure(sha256) is None
    assert list(store.digests()) == []


def test_strangers_files_are_not_listed(tmp_path):
    store = FolderBlobs(tmp_path / "blobs")
    store.create(OWNER)
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    folder = store.path(sha256).parent
    (folder / "notes.txt").write_text("not a blob")
    (folder / ("b" * 63)).write_text("not a digest")
    assert list(store.digests()) == [sha256]


# -- S3 ----------------------------------------------------------------------------------------------------------------


def test_strangers_objects_are_not_listed(remote, tmp_path):
    store, place = remote
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    for key in ("notes.txt", f"{sha256[:2]}/notes", f"zz/{sha256}", sha256):
        obstore.put(place, key, b"not a blob")
    assert list(store.digests()) == [sha256]


def test_a_machine_without_local_copies_fetches_and_checks_them(remote, tmp_path):
    store, place = remote
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    other = S3Blobs(f"s3://{stores.BUCKET}/{place.prefix}?endpoint={stores.s3()}", tmp_path / "other")
    other.require(OWNER)
    assert not other.path(sha256).exists()
    assert other.local(sha256).read_bytes() == b"weights"


def test_a_damaged_local_copy_is_fetched_again(remote, tmp_path):
    store, place = remote
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    store.path(sha256).write_bytes(b"wreckst")
    later = S3Blobs(f"s3://{stores.BUCKET}/{place.prefix}?endpoint={stores.s3()}", tmp_path / "cache")
    assert later.local(sha256).read_bytes() == b"weights"


def test_what_the_store_damaged_or_lost_is_never_handed_out(remote, tmp_path):
    store, place = remote
    path, sha256 = synced(tmp_path, b"weights")
    store.publish(path, sha256)
    store.path(sha256).unlink()
    obstore.put(place, f"{sha256[:2]}/{sha256}", b"wreckst")
    assert reason_of(store.local, sha256) == "BLOB_CORRUPT"
    assert store.measure(sha256) == (7, hashlib.sha256(b"wreckst").hexdigest())
    obstore.delete(place, f"{sha256[:2]}/{sha256}")
    assert reason_of(store.local, sha256) == "BLOB_CORRUPT"
    assert not store.path(sha256).exists()


def test_two_pools_do_not_share_a_place(remote, tmp_path):
    store, place = remote
    other = S3Blobs(f"s3://{stores.BUCKET}/{place.prefix}?endpoint={stores.s3()}", tmp_path / "other")
    assert reason_of(other.create, "other.test/log\nkey\n") == "PATH_NOT_EMPTY"
    assert reason_of(other.require, "other.test/log\nkey\n") == "CONFIG_INVALID"
    store.require(OWNER)
    assert reason_of(S3Blobs(stores.prefix(), tmp_path / "other").require, OWNER) == "CONFIG_INVALID"


def test_a_bucket_that_keeps_old_versions_is_refused_for_nothing_would_be_erased(tmp_path):
    import boto3

    stores.make_bucket(stores.s3(), "versioned")
    client = boto3.client("s3", endpoint_url=stores.s3())
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    store = S3Blobs(f"s3://versioned/pool?endpoint={stores.s3()}", tmp_path / "cache")
    assert reason_of(store.create, OWNER) == "CONFIG_INVALID"


def test_a_store_that_does_not_answer_is_said_so(remote, tmp_path, monkeypatch):
    monkeypatch.setattr("genepool_server.pool.store.s3._RETRIES", 0)
    path, sha256 = synced(tmp_path, b"weights")
    gone = S3Blobs("s3://bucket/pool?endpoint=http://127.0.0.1:9", tmp_path / "cache")
    for call in (gone.holds, gone.local, gone.measure, gone.erase):
        assert reason_of(call, sha256) == "STORE_UNAVAILABLE"
    assert reason_of(gone.publish, path, sha256) == "STORE_UNAVAILABLE"
    assert path.read_bytes() == b"weights"
    assert (
        reason_of(S3Blobs(f"s3://nothing/pool?endpoint={stores.s3()}", tmp_path).create, OWNER) == "STORE_UNAVAILABLE"
    )


def test_what_goes_wrong_names_no_secret(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
    monkeypatch.setattr("genepool_server.pool.store.s3._RETRIES", 0)
    gone = S3Blobs("s3://bucket/pool?endpoint=http://127.0.0.1:9", tmp_path / "cache")
    with pytest.raises(GenepoolError) as caught:
        gone.holds("a" * 64)
    assert "s3cret-key" not in caught.value.diagnostics()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "http://bucket/s3cret",
        "s3://key:s3cret@bucket/pool",
        "s3://bucket/pool?endpoint=http://key:s3cret@minio:9000",
        "s3://bucket/pool?endpoint=s3cret",
        "s3://bucket/pool?secret=s3cret",
        "s3://bucket/pool#s3cret",
    ],
)
def test_an_address_with_secrets_or_of_another_kind_is_refused_without_repeating_it(url, tmp_path):
    with pytest.raises(GenepoolError) as caught:
        S3Blobs(url, tmp_path)
    assert caught.value.reason == "OPTION_INVALID"
    assert "s3cret" not in caught.value.diagnostics()
