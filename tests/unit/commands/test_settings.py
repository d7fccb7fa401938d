"""`genepool-server config check`: the settings in force, and where each comes from."""

import json

import pytest
from typer.testing import CliRunner

from genepool_protocol.machine.variables import VARIABLES
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.commands.cli import app
from genepool_server.config import ServerConfig


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def check(folder, *more):
    return CliRunner().invoke(app, ["config", "check", str(folder), *more])


def test_every_setting_is_told_with_the_place_it_comes_from(tmp_path, monkeypatch):
    (tmp_path / "genepool.toml").write_text("quorum = 0\n[serving]\nslots = 3\n")
    monkeypatch.setenv("GENEPOOL_CACHE", "/cache")
    monkeypatch.setenv("GENEPOOL_PASSPHRASE", "horse")
    rows = {
        row["setting"]: (row["value"], row["from"]) for row in json.loads(check(tmp_path, "--json").stdout)["settings"]
    }
    assert rows["serving.slots"] == (3, "genepool.toml")
    assert rows["quorum"] == (0, "genepool.toml")  # said, though it is the default
    assert rows["serving.workers"] == (1, "default")
    assert rows["GENEPOOL_CACHE"] == ("/cache", "environment")
    assert rows["GENEPOOL_PASSPHRASE"] == ("(secret)", "environment")
    assert "GENEPOOL_HOME" not in rows
    assert {name for name in rows if name.islower()} == {name for name, _, _ in ServerConfig().origins()}


def test_a_person_reads_a_table(tmp_path):
    (tmp_path / "genepool.toml").write_text("[logs]\nform = 'json'\n")
    lines = [line.split() for line in check(tmp_path).stdout.splitlines()]
    assert ["logs.form", "json", "genepool.toml"] in lines
    assert ["approve_first", "0", "default"] in lines


@pytest.mark.parametrize(
    ("text", "reason"), [("quorum = 1", "CONFIG_INVALID"), ("listen = '127.0.0.1:65535'", "CONFIG_INVALID")]
)
def test_what_is_wrong_ends_with_its_code(tmp_path, text, reason):
    (tmp_path / "genepool.toml").write_text(text)
    ended = check(tmp_path)
    assert isinstance(ended.exception, GenepoolError)
    assert (ended.exception.reason, ended.exception.exit_code) == (reason, 2)
    assert ended.stdout == ""
