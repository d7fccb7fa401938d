"""The app bundle is the same bytes wherever, whenever and by whomever it is made."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from genepool_protocol.machine.launching import QUIET
from genepool_server.campaign.fab import app_folder

COMMAND = (
    "import os, sys; os.umask(int(sys.argv.pop(1), 8)); from genepool_server.commands.cli import main; "
    "sys.argv[0] = 'genepool-server'; main()"
)
COPY = (
    "import pathlib, sys; from genepool_server.campaign import fab; "
    "print(fab.digest_of(fab.build(pathlib.Path(sys.argv[1]))))"
)
ENV = os.environ | QUIET


def told(folder, umask: str, **env: str) -> dict:
    command = [sys.executable, "-c", COMMAND, umask, "campaign", "app", "--out", str(folder / "b.fab"), "--json"]
    done = subprocess.run(command, cwd=folder, env=ENV | env, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_two_builds_agree_in_different_folders_times_umasks_and_locales(tmp_path):
    folders = [tmp_path / "first", tmp_path / "a" / "second folder"]
    for folder in folders:
        folder.mkdir(parents=True)
    first = told(folders[0], "022", LC_ALL="C", TZ="UTC")
    time.sleep(2.1)  # a zip counts in two seconds
    second = told(folders[1], "077", LC_ALL="C.UTF-8", TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert first["sha256"] == second["sha256"]
    assert (folders[0] / "b.fab").read_bytes() == (folders[1] / "b.fab").read_bytes()


def test_a_copy_of_the_app_elsewhere_gives_the_same_bundle(tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(app_folder(), copy)
    os.utime(copy / "pyproject.toml", (1, 1))
    (copy / "pyproject.toml").chmod(0o600)
    digests = {
        subprocess.run(
            [sys.executable, "-c", COPY, str(folder)],
            env=os.environ | QUIET,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for folder in (app_folder(), copy)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["campaign", "campaign app"])
def test_the_commands_have_help(name):
    command = [sys.executable, "-c", COMMAND, "022", *name.split(), "-h"]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, check=True)
    assert "Usage: genepool-server campaign" in done.stdout
