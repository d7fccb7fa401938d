"""A fault at every single step that changes the disk: nothing acknowledged is lost, nothing is there twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import stores

ROOT = Path(__file__).parents[2]
LONG = [
    pytest.param(name, least, marks=pytest.mark.slow)
    for name, least in (("publish", 45), ("withdraw", 35), ("backup", 40), ("restore", 40))
]
NAMES = {"mkdir", "pwrite", "fsync", "replace", "unlink", "COMMIT"}


def outcomes(*args, driver="driver", **variables):
    """What the driver saw, fault by fault."""
    command, env = [sys.executable, "-m", f"tests.fault.{driver}", *map(str, args)], os.environ | variables
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False, env=env)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize(("what", "least"), [("contribute", 30), ("review", 3), ("create", 12), ("open", 2), *LONG])
def test_a_process_killed_at_any_step_leaves_a_pool_that_goes_on(fast_folder, what, least):
    found = outcomes("kill", what, fast_folder)
    assert [one for one in found if one["verdict"] or one["status"] != -9] == []
    assert len(found) >= least
    if what == "contribute":
        assert {one["step"] for one in found} == NAMES


@pytest.mark.parametrize(("code", "reason"), [("ENOSPC", "DISK_FULL"), ("EIO", "DISK_FAILED")])
@pytest.mark.parametrize(("what", "least"), [("contribute", 30), ("review", 3), ("create", 12), *LONG])
def test_a_disk_that_fails_at_any_step_is_said_so_and_the_retry_works(fast_folder, code, reason, what, least):
    found = outcomes(code, what, fast_folder)
    assert [one for one in found if one["verdict"]] == []
    assert [one for one in found if one["step"] != "COMMIT" and one["reason"] != reason] == []
    assert len(found) >= least


@pytest.mark.slow
@pytest.mark.parametrize(("what", "least", "step"), [("contribute", 30, "put"), ("withdraw", 20, "delete")])
def test_a_process_killed_at_any_step_leaves_a_pool_that_goes_on_also_on_s3_and_postgresql(
    fast_folder, what, least, step
):
    servers = {stores.POSTGRES: stores.postgres(), stores.S3: stores.s3()}
    found = outcomes(what, fast_folder, driver="remote", **servers)
    assert [one for one in found if one["verdict"] or one["status"] != -9] == []
    assert len(found) >= least
    assert {"COMMIT", step} <= {one["step"] for one in found}
