"""Slots and owned folders: bounded, private, and gone with their owner."""

import subprocess
import sys
import time

import pytest

from genepool_protocol.machine.private_folder import OwnedFolder, sweep
from genepool_protocol.wire.errors import StorageError, Unavailable
from genepool_server.serving.slots import Slots, map_shared

OWNER = """
import sys, time
from pathlib import Path
from genepool_server.serving.slots import Slots
slots = Slots.create([Path(sys.argv[1])], 2, 8192)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """A process that holds two slots."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_slot_is_shared_private_and_of_its_full_length(tmp_path):
    slots = Slots.create([tmp_path], 1, 10_000)
    slot = slots.lease()
    assert (slot.path.stat().st_size, slot.path.stat().st_mode & 0o777) == (10_000, 0o600)
    assert slot.path.parent.stat().st_mode & 0o777 == 0o700
    with map_shared(slot.path, slot.size) as other:
        other[5:8] = b"abc"
        assert slot.read(4, 9) == b"\0abc\0"
    slots.close()
    assert list(tmp_path.iterdir()) == []


def test_every_slot_is_leased_once_until_it_is_given_back(tmp_path):
    slots = Slots.create([tmp_path], 2, 64)
    a, b = slots.lease(), slots.lease()
    assert a.path != b.path
    with pytest.raises(Unavailable) as caught:
        slots.lease()
    assert caught.value.reason == "BUSY"
    slots.give_back(a)
    assert (slots.free, slots.lease()) == (1, a)
    slots.close()


def test_the_first_folder_with_room_is_taken(tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    slots = Slots.create([tmp_path / "missing", good], 1, 64)
    assert len(list(good.iterdir())) == 1
    slots.close()


def test_no_room_anywhere_is_an_error_that_leaves_nothing(tmp_path):
    with pytest.raises(StorageError) as caught:
        Slots.create([tmp_path, tmp_path / "missing"], 1, 1 << 60)
    assert caught.value.reason == "DISK_FULL"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_swept_by_the_next(tmp_path, owner):
    left = set(tmp_path.iterdir())
    assert len(left) == 1
    owner.kill()
    owner.wait()
    slots = Slots.create([tmp_path], 1, 64)
    assert not left & set(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 1
    slots.close()


def test_what_a_living_owner_holds_is_left_alone(tmp_path, owner):
    held = set(tmp_path.iterdir())
    assert sweep(tmp_path, "genepool-slots-") == []
    with OwnedFolder(tmp_path, "genepool-slots-") as mine:
        assert held < set(tmp_path.iterdir())
    assert not mine.path.exists()
    assert set(tmp_path.iterdir()) == held
    assert owner.poll() is None


def test_only_folders_of_the_prefix_are_swept(tmp_path):
    for name in ("other-1", "genepool-slots-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "genepool-slots-file").write_text("x")
    (tmp_path / "genepool-slots-link").symlink_to(tmp_path / "other-1")
    assert sweep(tmp_path, "genepool-slots-") == [tmp_path / "genepool-slots-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genepool-slots-file", "genepool-slots-link", "other-1"]


def test_closing_twice_does_nothing(tmp_path):
    folder = OwnedFolder(tmp_path, "x-")
    folder.close()
    folder.close()


def test_many_processes_start_at_once_and_sweep_nobody_alive(tmp_path):
    (tmp_path / "genepool-slots-dead").mkdir()
    command = [sys.executable, "-c", OWNER, tmp_path]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        found = [path for path in tmp_path.iterdir() if path.is_dir()]
        assert len(found) == 4
        assert all(len(list(path.iterdir())) == 2 for path in found)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
    deadline = time.monotonic() + 10
    while sweep(tmp_path, "genepool-slots-") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
