"""What a client starts from: read strictly, or not at all."""

import json

import pytest

from genepool_protocol.trust.anchors import Anchors, Invite, read_anchors, read_invite
from genepool_protocol.trust.digest import is_sha256_hex, sha256_file, sha256_hex
from genepool_protocol.wire.errors import InvalidInput

ANCHORS = Anchors(address="127.0.0.1:8470", ca_pem="ca", root='{"signed":{}}')
INVITE = Invite(site="north", invite_id="0" * 32, secret="s" * 43, expires="2030-01-01T00:00:00Z", anchors=ANCHORS)


def written(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def reason_of(read, path) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(path)
    assert str(path) in caught.value.message or caught.value.reason == "JSON_MALFORMED"
    return caught.value.reason


def test_anchors_and_invitations_come_back_as_they_were_written(tmp_path):
    found = read_anchors(written(tmp_path, ANCHORS.model_dump(by_alias=True)))
    assert (found, found.root_sha256) == (ANCHORS, sha256_hex(ANCHORS.root.encode()))
    assert read_invite(written(tmp_path, INVITE.model_dump(by_alias=True))) == INVITE


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"schema": "genepool.anchors/v1"},
        {"address": 1},
        {"ca_pem": None},
        {"root": ""},
        {"root": {}},
    ],
)
def test_anchors_with_other_members_are_refused(tmp_path, change):
    value = ANCHORS.model_dump(by_alias=True) | change
    assert reason_of(read_anchors, written(tmp_path, value)) == "FILE_MALFORMED"


@pytest.mark.parametrize("name", ["schema", "schema_"])
def test_anchors_and_invitations_without_their_schema_are_refused(tmp_path, name):
    value, invite = ANCHORS.model_dump(by_alias=True), INVITE.model_dump(by_alias=True)
    for document in (value, invite, invite["anchors"]):
        schema = document.pop("schema")
        document.update({name: schema} if name == "schema_" else {})
    assert reason_of(read_anchors, written(tmp_path, value)) == "FILE_MALFORMED"
    assert reason_of(read_invite, written(tmp_path, invite)) == "FILE_MALFORMED"
    invite = INVITE.model_dump(by_alias=True) | {"anchors": value}
    assert reason_of(read_invite, written(tmp_path, invite)) == "FILE_MALFORMED"


@pytest.mark.parametrize(
    "change",
    [
        {"site": "North"},
        {"site": "../x"},
        {"invite_id": "0" * 31},
        {"secret": "s" * 42},
        {"secret": "s" * 42 + "+"},
        {"anchors": {}},
    ],
)
def test_an_invitation_with_other_members_is_refused(tmp_path, change):
    value = INVITE.model_dump(by_alias=True) | change
    path = written(tmp_path, value)
    assert reason_of(read_invite, path) == "FILE_MALFORMED"
    with pytest.raises(InvalidInput) as caught:
        read_invite(path)
    assert "s" * 40 not in caught.value.message


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path):
    assert reason_of(read_anchors, written(tmp_path, "{")) == "JSON_MALFORMED"
    assert reason_of(read_anchors, written(tmp_path, '{"a":1,"a":1}')) == "JSON_MALFORMED"
    assert reason_of(read_anchors, tmp_path / "none.json") == "PATH_MISSING"
    assert reason_of(read_anchors, tmp_path) == "PATH_MISSING"


def test_there_is_one_spelling_of_a_digest(tmp_path):
    path = written(tmp_path, "abc")
    assert sha256_file(path) == sha256_hex(b"abc")
    assert is_sha256_hex(sha256_hex(b"abc"))
    for text in ("", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64):
        assert not is_sha256_hex(text)


def test_a_byte_order_mark_of_an_editor_is_passed_over_and_a_slip_is_told_with_file_line_and_column(tmp_path):
    path = written(tmp_path, ANCHORS.model_dump(by_alias=True))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_anchors(path) == ANCHORS
    path.write_bytes(b'\xef\xbb\xbf{\n"address" "x"}')
    with pytest.raises(InvalidInput) as caught:
        read_anchors(path)
    assert str(path) in caught.value.message
    assert "line 2, column 11" in caught.value.message
