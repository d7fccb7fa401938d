"""deploy/slurm: the login node speaks with the pool, the job computes in a namespace that has no network."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genepool_client.site.folder import SiteFolder
from tests.integration.site.world import last_received
from tests.support.command_lines import parse
from tests.support.images import write_classes

SLURM = Path(__file__).parents[3] / "deploy" / "slurm"

SBATCH = """#!/bin/sh
# a stand-in: takes sbatch's options, and runs the job at once where there is no network
for word; do case "$word" in --*) shift ;; *) break ;; esac; done
exec unshare --map-root-user --net "$@" >"$LOG" 2>&1
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Programs on PATH, `sbatch` among them."""
    if subprocess.run(["unshare", "--map-root-user", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system makes no network namespace for us")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH)
    (programs / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "job.log"))
    monkeypatch.delenv("GENEPOOL_CACHE", raising=False)
    return tmp_path


@pytest.mark.slow
def test_a_job_without_network_computes_what_the_login_node_submits(world, cluster):
    data = write_classes(cluster / "data", {"a": 12, "b": 12}, np.random.default_rng(5))
    site = world.site("slurm", data=data)
    command = [SLURM / "contribute.sh", site.path, "--partition=cpu"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    log = (cluster / "job.log").read_text()
    assert ended.returncode == 0, ended.stderr + log
    assert "is ACTIVE" in ended.stdout
    assert last_received(SiteFolder(site.path)) in ended.stdout
    assert stat.S_IMODE((site.path / ".cache").stat().st_mode) == 0o700


def test_every_command_of_the_scripts_is_one_that_the_program_takes():
    lines = [
        line.strip().removesuffix(" &")
        for path in (SLURM / "contribute.sh", SLURM / "train.sbatch")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("genepool ")
    ]
    assert [parse(line).info_name for line in lines] == ["fetch", "submit", "train", "condense"]
