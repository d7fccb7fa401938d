"""Files are whole or not there."""

import stat

import pytest

from genepool_client.transport.durable import remove, write_atomic, write_json


def test_the_content_and_mode_are_those_asked_for(tmp_path):
    path = write_atomic(tmp_path / "key", b"secret", 0o600)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"secret", 0o600)
    write_atomic(path, b"", 0o644)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"", 0o644)
    assert write_json(tmp_path / "a.json", {"ä": 1}).read_text() == '{\n  "ä": 1\n}\n'


def test_a_write_that_fails_leaves_the_old_content_and_no_rubbish(tmp_path):
    path = write_atomic(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_removing_what_is_not_there_is_fine(tmp_path):
    path = write_atomic(tmp_path / "a", b"old")
    remove(path)
    remove(path)
    assert not path.exists()
