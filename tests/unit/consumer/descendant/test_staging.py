"""A folder appears whole, or not at all; what was downloaded waits for the next try."""

import errno
import os

import pytest

from genepool_client.consumer.descendant.staging import Staging, check_place, storage_errors
from genepool_protocol.wire.errors import GenepoolError, Unavailable, VerificationError
from tests.support.refusals import reason_of


def break_off(out, failure) -> None:
    """Fail in the middle of a download."""
    with Staging(out, {"a": 1}) as staging:
        (staging.folder / "file").write_bytes(b"x")
        raise failure


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_published_folder_is_all_that_is_left(tmp_path):
    with Staging(tmp_path / "deep" / "out", {"a": 1}) as staging:
        (staging.folder / "file").write_bytes(b"x")
        assert not staging.out.exists()
        staging.publish()
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["file"]


@pytest.mark.parametrize("failure", [Unavailable("POOL_UNREACHABLE", "gone"), KeyboardInterrupt()])
def test_a_broken_connection_keeps_the_parts(tmp_path, failure):
    with pytest.raises(type(failure)):
        break_off(tmp_path / "out", failure)
    assert names(tmp_path) == [".out.part"]
    with Staging(tmp_path / "out", {"a": 1}) as staging:
        assert names(staging.folder) == ["file"]
    with Staging(tmp_path / "out", {"a": 2}) as staging:
        assert names(staging.folder) == []


@pytest.mark.parametrize("failure", [VerificationError("FOLDER_TAMPERED", "no"), ValueError("a defect")])
def test_everything_else_removes_them(tmp_path, failure):
    with pytest.raises(type(failure)):
        break_off(tmp_path / "out", failure)
    assert names(tmp_path) == []


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path):
    with Staging(tmp_path / "out", {}) as staging:
        (tmp_path / "out").write_text("somebody else's")
        assert reason_of(staging.publish) == "PATH_NOT_EMPTY"
    assert (tmp_path / "out").read_text() == "somebody else's"


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    assert reason_of(Staging, tmp_path / "out", {}) == "PATH_NOT_EMPTY"


def test_only_one_works_on_a_folder(tmp_path):
    with Staging(tmp_path / "out", {}):
        assert reason_of(Staging, tmp_path / "out", {}) == "FOLDER_IN_USE"
    with Staging(tmp_path / "out", {}) as staging:
        staging.publish()


def test_a_parent_that_is_a_file_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").write_text("")
    assert reason_of(Staging, tmp_path / "file" / "out", {}) == "DISK_FAILED"


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, "DISK_FULL"), (errno.EIO, "DISK_FAILED")])
def test_errors_of_the_disk_are_ours(tmp_path, number, expected):
    def fail():
        with storage_errors(tmp_path):
            raise OSError(number, os.strerror(number))

    assert reason_of(fail) == expected


# --- a folder that others write into, too ---


@pytest.fixture
def shared(tmp_path):
    """A folder like /tmp, and a file that a neighbour would like to have overwritten."""
    folder, victim = tmp_path / "shared", tmp_path / "victim"
    folder.mkdir()
    folder.chmod(0o1777)
    victim.mkdir()
    (victim / "model.safetensors").write_bytes(b"keep")
    before = os.umask(0)
    yield folder
    os.umask(before)
    assert (victim / "model.safetensors").read_bytes() == b"keep"


def test_parts_that_are_a_link_are_refused(shared):
    (shared.parent / "victim" / "folder").mkdir()
    (shared / ".out.part").symlink_to(shared.parent / "victim")
    assert reason_of(Staging, shared / "out", {"a": 1}) == "PATH_FOREIGN"
    assert names(shared.parent / "victim") == ["folder", "model.safetensors"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
def test_parts_that_somebody_else_made_are_refused(shared):
    (shared / ".out.part" / "folder").mkdir(parents=True)
    (shared / ".out.part" / "request.json").write_text('{"a": 1}')
    (shared / ".out.part" / "folder" / "model.safetensors").symlink_to(shared.parent / "victim" / "model.safetensors")
    os.chown(shared / ".out.part", 65534, 65534)
    assert reason_of(Staging, shared / "out", {"a": 1}) == "PATH_FOREIGN"


def test_parts_that_others_could_write_into_start_over(shared):
    (shared / ".out.part" / "folder").mkdir(parents=True)  # under this umask everybody could
    (shared / ".out.part" / "request.json").write_text('{"a": 1}')
    (shared / ".out.part" / "folder" / "model.safetensors").symlink_to(shared.parent / "victim" / "model.safetensors")
    with Staging(shared / "out", {"a": 1}) as staging:
        assert names(staging.folder) == []
        assert staging.folder.stat().st_mode & 0o077 == 0
        assert staging.folder.parent.stat().st_mode & 0o077 == 0


def test_what_is_published_is_as_open_as_the_umask_says(shared):
    os.umask(0o027)
    with Staging(shared / "out", {}) as staging:
        (staging.folder / "file").write_bytes(b"x")
        staging.publish()
    assert (shared / "out").stat().st_mode & 0o777 == 0o750
    assert (shared / "out" / "file").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_is_refused_at_once_whatever_it_is(tmp_path):
    check_place(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(GenepoolError) as caught:
        check_place(tmp_path / "file" / "out")
    assert caught.value.reason == "DISK_FAILED"
    assert "a part of the path is a file" in caught.value.fix
