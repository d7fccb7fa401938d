"""site.json, and the passphrase that a service manager hands over as a file."""

import codecs
import json

import pytest

from genepool_client.site import keyring
from genepool_client.site.folder import SiteFolder, validated
from genepool_protocol.machine.variables import PASSPHRASE, PASSPHRASE_FILE
from genepool_protocol.wire.errors import GenepoolError

ANCHORS = {"schema": "genepool.anchors/v2", "address": "pool.example:1", "ca_pem": "ca", "root": "{}"}
SITE = {"name": "north", "anchors": ANCHORS, "blueprint": "nano-32", "blueprint_sha256": f"sha256:{'0' * 64}"}


@pytest.mark.parametrize(
    ("member", "nearest"),
    [("licence", "license"), ("key_epsilonn", "key_epsilon"), ("step", "steps"), ("blueprnt", "blueprint")],
)
def test_a_setting_that_there_is_not_comes_with_the_nearest(tmp_path, member, nearest):
    with pytest.raises(GenepoolError) as caught:
        validated({name: SITE[name] for name in SITE if name != nearest} | {member: "x"}, tmp_path / "site.json")
    assert caught.value.reason == "CONFIG_INVALID"
    assert f"{member}: there is no such setting; the nearest is {nearest}; " in caught.value.diagnostics()
    assert validated(SITE, tmp_path).name == "north"


def test_site_json_may_begin_with_a_byte_order_mark_and_a_slip_in_it_is_told_with_its_place(tmp_path):
    path = tmp_path / "site.json"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps(SITE, indent=1).encode())
    assert SiteFolder(tmp_path).config.name == "north"
    path.write_text(path.read_text().replace(",", "", 1))
    with pytest.raises(GenepoolError) as caught:
        SiteFolder(tmp_path)
    assert str(path) in caught.value.message
    assert "line 3, column 2" in caught.value.message


def test_the_passphrase_is_the_files_first_line_unless_the_environment_says_it(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE.name, raising=False)
    (tmp_path / "secret").write_text("correct horse\nand a note\n")
    monkeypatch.setenv(PASSPHRASE_FILE.name, str(tmp_path / "secret"))
    assert keyring.new_passphrase(wanted=False) == b"correct horse"
    monkeypatch.setenv(PASSPHRASE.name, "battery")
    assert keyring.new_passphrase(wanted=False) == b"battery"


def test_a_passphrase_file_that_is_not_there_is_no_empty_passphrase(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE.name, raising=False)
    monkeypatch.setenv(PASSPHRASE_FILE.name, str(tmp_path / "gone"))
    with pytest.raises(GenepoolError) as caught:
        keyring.new_passphrase(wanted=False)
    assert caught.value.reason == "FILE_MISSING"
    assert PASSPHRASE_FILE.name in caught.value.diagnostics()
