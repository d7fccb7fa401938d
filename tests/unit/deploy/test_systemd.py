"""The units of deploy/systemd: what they start is what the programs take, and systemd's own tools find nothing."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import click
import pytest

from genepool_client.site.flower.ending import LOOK
from genepool_protocol.machine.variables import VARIABLES
from genepool_server.config import ServerConfig
from tests.support.command_lines import parse

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
NAMES = ["genepool-pool.service", "genepool-site@.service"]
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = 20
"""Tenths of systemd's own measure of what a unit leaves open, from 0 to 100; the units have 13 and 15."""


def read(path):
    """Key -> values, of all sections; a key is set more than once where systemd adds the values up."""
    values = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            values[key].append(value)
    return values


def commands(values):
    for line in [*values["ExecStartPre"], *values["ExecStart"]]:
        shell = re.search(r"exec (.*)'$", line)
        yield from [shell[1] if shell else line] if line else []


FILES = sorted([*UNITS.glob("*.service"), *UNITS.glob("*/*.conf")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_is_one_that_the_programs_take(path):
    for line in commands(read(path)):
        assert line.startswith("/opt/genepool/bin/")
        assert parse(line).info_name in ("serve", "check", "run")


def test_a_command_that_the_programs_do_not_take_would_be_found():
    with pytest.raises(click.UsageError):
        parse("/opt/genepool/bin/genepool-server serve /x --nonsense")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_is_in_a_unit_and_every_variable_is_one_of_ours(path):
    for setting in " ".join(read(path)["Environment"]).split():
        name, _, value = setting.partition("=")
        assert name in (*VARIABLES, "TMPDIR", "PGPASSFILE")
        assert value.startswith(("%S/", "%C/", "%d/", "%t/"))


@pytest.mark.parametrize("name", NAMES)
def test_the_manager_is_told_and_waits_long_enough(name):
    values = read(UNITS / name)
    assert (values["Type"], values["NotifyAccess"]) == (["notify"], ["main"])
    drained = ServerConfig.model_fields["drain_seconds"].default
    assert int(values["TimeoutStopSec"][0]) > drained
    if name == "genepool-site@.service":
        assert values["WatchdogSec"] == ["15min"]
        assert 4 * LOOK < 15 * 60
    # the operator's socket and Ray's are made in the temporary folder, and others look for the first one
    assert any(line.startswith("TMPDIR=%t/genepool") for line in values["Environment"])


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_in_them_and_little_that_is_left_open(name, tmp_path):
    instance = name.replace("@", "@clinic")
    for path in (UNITS / name, *(UNITS / f"{name}.d").iterdir()):
        text = path.read_text(encoding="utf-8").replace("/opt/genepool/bin", str(Path(sys.executable).parent))
        target = tmp_path / str(path.relative_to(UNITS)).replace(name, instance)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    verified = subprocess.run(
        [ANALYZE, "verify", "--man=no", tmp_path / instance], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    measured = subprocess.run(
        [ANALYZE, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", tmp_path / instance],
        capture_output=True,
        text=True,
        check=False,
    )
    assert measured.returncode == 0, measured.stdout
