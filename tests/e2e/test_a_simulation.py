"""`genepool simulate`: a whole play, small, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BIN = Path(sys.executable).parent
SMALL = ["--sites", "2", "--steps", "4", "--draws", "1", "--finetune", "2", "--size", "2,1", "--size", "3,2"]
SMALL += ["--parallel", "1"]  # each process more loads torch once more


def processes():
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[path.parent.name] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def test_two_sites_play_and_leave_a_report_and_no_process(tmp_path):
    report = tmp_path / "report"
    env = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GENEPOOL_CACHE": str(tmp_path / "cache")}
    command = [str(BIN / "genepool"), "simulate", *SMALL, "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1100, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((report / "report.json").read_text())
    assert [site["name"] for site in content["sites"]] == ["animals", "clothing"]
    assert len({site["contribution_id"] for site in content["sites"]}) == 2
    assert content["modes_agree"] is True
    assert content["verification"]["tampering_refused"] is True
    assert len(content["rows"]) == 6 * 2 * 6
    assert "data:image/png" in (report / "report.html").read_text()
    assert not [line for line in processes().values() if str(report) in line]


def test_a_report_folder_that_holds_something_else_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    command = [str(BIN / "genepool"), "simulate", *SMALL, "--report", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "PATH_NOT_EMPTY"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
