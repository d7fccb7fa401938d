"""Images on their way to workers: private, and overwritten when the call ends, whoever still looks at them."""

import numpy as np
import pytest

from genepool_protocol.wire.errors import StorageError, Unavailable
from genepool_server.serving.shared_images import Pictures


@pytest.fixture
def pictures(tmp_path):
    pictures = Pictures.create([tmp_path])
    yield pictures
    pictures.close()


def test_what_was_lent_is_what_a_worker_sees(pictures, rng):
    pixels = rng.integers(1, 256, (3, 8, 8, 3), dtype=np.uint8)
    with pictures.lent(pixels) as shared, shared.mapped() as seen:
        assert np.array_equal(seen, pixels)


def test_images_are_overwritten_under_whoever_still_looks_at_them(pictures, rng):
    pixels = rng.integers(1, 256, (3, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(RuntimeError), pictures.lent(pixels) as shared:
        with shared.mapped() as late:
            pass
        raise RuntimeError
    assert not late.any()


def test_after_the_call_there_is_nothing_to_see(pictures, tmp_path):
    with pictures.lent(np.ones((1, 8, 8, 3), np.uint8)) as shared:
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    with pytest.raises(Unavailable) as caught, shared.mapped():
        pass
    assert caught.value.reason == "SERVING_UNAVAILABLE"
    assert list(folder.iterdir()) == []


def test_images_without_room_are_refused_and_leave_nothing(pictures, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(Unavailable) as caught, pictures.lent(np.ones((1, 8, 8, 3), np.uint8)):
        pass
    assert caught.value.reason == "BUSY"
    assert list(tmp_path.rglob("images-*")) == []


def test_without_a_folder_to_write_to_nothing_starts(tmp_path):
    with pytest.raises(StorageError):
        Pictures.create([tmp_path / "missing"])
