"""Whom a user trusts: files that were handed over, and what was remembered; never something else than that."""

import json
from datetime import UTC, datetime

import pytest

from genepool_client.transport import known_pools, trust_root
from genepool_protocol.trust import updating
from genepool_protocol.wire.errors import GenepoolError
from tests.support.refusals import reason_of
from tests.support.trust import TrustRoot


@pytest.fixture
def root(forge, tmp_path):
    return TrustRoot(tmp_path / "root", forge.trusted)


@pytest.fixture
def anchors(root):
    return root.anchors("pool.example:8470")


def test_a_file_that_was_handed_over_is_taken(anchors, tmp_path):
    path = tmp_path / "pool.json"
    path.write_text(anchors.model_dump_json(by_alias=True))
    assert known_pools.find(path) == known_pools.find(str(path)) == anchors


def test_an_unknown_address_says_where_to_put_what(anchors):
    with pytest.raises(GenepoolError) as caught:
        known_pools.find(anchors.address)
    assert caught.value.reason == "PATH_MISSING"
    assert "pool.json" in caught.value.fix
    assert str(known_pools.path_of(anchors.address)) in caught.value.fix


def test_a_remembered_address_is_found_again(anchors, root, forge):
    assert known_pools.remember(anchors) == ""
    assert known_pools.remember(anchors) == ""
    assert known_pools.find(anchors.address) == anchors
    updating.refresh(anchors, trust_root.TrustRoot(anchors).folder, root.fetch, datetime.now(UTC))
    assert known_pools.by_release_key(forge.release.public.keyid) == anchors
    assert known_pools.trusted(anchors) == forge.trusted, "nobody is asked"


def test_an_address_from_a_file_that_lies_under_another_name_is_the_one_that_was_asked(anchors):
    path = known_pools.path_of("10.0.0.7:9000")
    path.parent.mkdir(parents=True)
    path.write_text(anchors.model_dump_json(by_alias=True))
    found = known_pools.find("10.0.0.7:9000")
    assert found.address == "10.0.0.7:9000"
    assert found.root == anchors.root


def test_another_root_for_an_address_never_replaces_the_pinned_one(anchors, forge, tmp_path):
    known_pools.remember(anchors)
    other = TrustRoot(tmp_path / "other", forge.trusted).anchors(anchors.address)
    assert "another pool" in known_pools.remember(other)
    assert known_pools.find(anchors.address) == anchors


def test_another_ca_of_the_same_pool_is_remembered(anchors):
    known_pools.remember(anchors)
    moved = anchors.model_copy(update={"ca_pem": "another"})
    assert known_pools.remember(moved) == ""
    assert known_pools.find(anchors.address) == moved


def test_a_home_that_cannot_be_written_to_is_said_and_no_failure(anchors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENEPOOL_HOME", str(tmp_path / "file"))
    assert "cannot be written" in known_pools.remember(anchors)


def test_a_key_that_nobody_remembers_is_unknown(anchors):
    known_pools.remember(anchors)
    assert reason_of(known_pools.by_release_key, "ab" * 32) == "KEY_UNKNOWN"


@pytest.mark.parametrize(
    ("pool", "expected"),
    [("missing.json", "PATH_MISSING"), ("a/b", "PATH_MISSING"), ("pool.example", "OPTION_INVALID")],
)
def test_what_is_neither_file_nor_address_is_refused(pool, expected):
    assert reason_of(known_pools.find, pool) == expected


def test_a_file_that_is_no_anchors_file_is_refused(tmp_path):
    (tmp_path / "pool.json").write_text(json.dumps({"address": "x:1"}))
    assert reason_of(known_pools.find, tmp_path / "pool.json") == "FILE_MALFORMED"


def test_addresses_keep_their_files_apart():
    names = {known_pools.path_of(address).name for address in ("a:1", "a:2", "[::1]:1", "b.c:1")}
    assert len(names) == 4
    assert all("/" not in name and ":" not in name for name in names)
