"""What is ours is ours whatever the umask is, and nothing is written through what somebody else put there."""

import os
import stat

import pytest

from genepool_protocol import private_files
from genepool_protocol.wire.errors import VerificationError
from tests.support.refusals import reason_of

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_private_folder_and_its_new_parents_are_closed(tmp_path):
    made = private_files.private_folder(tmp_path / "a" / "b")
    assert (mode(made), mode(made.parent)) == (0o700, 0o700)
    made.chmod(0o755)
    assert mode(private_files.private_folder(made)) == 0o700


def test_ones_own_link_is_followed_by_a_private_folder_and_not_by_a_claimed_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    private_files.private_folder(tmp_path / "cache")
    assert mode(tmp_path / "disk") == 0o700
    assert reason_of(private_files.claimed_folder, tmp_path / "cache") == "PATH_FOREIGN"


@root_only
@pytest.mark.parametrize("make", [private_files.private_folder, private_files.claimed_folder])
def test_another_users_folder_is_refused(tmp_path, make):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    assert reason_of(make, tmp_path / "theirs") == "PATH_FOREIGN"


@root_only
def test_another_users_link_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    assert reason_of(private_files.private_folder, tmp_path / "link") == "PATH_FOREIGN"


def test_a_claimed_folder_forgets_what_others_could_have_put_there(tmp_path):
    made = private_files.claimed_folder(tmp_path / "part")
    (made / "own").write_bytes(b"x")
    made.chmod(0o755)
    assert [path.name for path in private_files.claimed_folder(made).iterdir()] == ["own"]
    assert mode(made) == 0o700
    made.chmod(0o777)
    assert list(private_files.claimed_folder(made).iterdir()) == []
    assert mode(made) == 0o700


def test_a_file_is_appended_to_only_when_it_is_ours_alone(tmp_path):
    path, victim = tmp_path / "part", tmp_path / "victim"
    with private_files.append_own(path) as file:
        file.write(b"a")
    with private_files.append_own(path) as file:
        assert file.tell() == 1  # where a download goes on
        file.write(b"b")
    assert (path.read_bytes(), mode(path)) == (b"ab", 0o600)
    victim.write_bytes(b"keep")
    for plant in (lambda: path.symlink_to(victim), lambda: path.hardlink_to(victim), lambda: os.mkfifo(path)):
        path.unlink()
        plant()
        with pytest.raises((VerificationError, OSError)) as caught:
            private_files.append_own(path)
        assert getattr(caught.value, "reason", "PATH_FOREIGN") == "PATH_FOREIGN"
    assert victim.read_bytes() == b"keep"


@root_only
def test_another_users_file_is_refused(tmp_path):
    (tmp_path / "theirs").write_bytes(b"")
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    assert reason_of(private_files.append_own, tmp_path / "theirs") == "PATH_FOREIGN"


def test_closing_a_tree_follows_no_link(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "weights").write_bytes(b"x")
    (tmp_path / "elsewhere").write_bytes(b"x")
    (tmp_path / "work" / "link").symlink_to(tmp_path / "elsewhere")
    private_files.close_tree(tmp_path / "work")
    assert (mode(tmp_path / "work"), mode(tmp_path / "work" / "weights")) == (0o700, 0o600)
    assert mode(tmp_path / "elsewhere") == 0o666


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_what_is_shared_follows_the_umask(umask, file, folder):
    os.umask(umask)
    assert (private_files.shared_mode(), private_files.shared_mode(folder=True)) == (file, folder)
    assert os.umask(0) == umask
