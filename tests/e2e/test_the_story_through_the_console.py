"""The story as users type it: an operator, two sites and a consumer, with the installed commands on real images."""

import json
import os
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest
import timm
import torch

from genepool_client.simulate.pool_process import PoolProcess
from tests.support.server import wait_until

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
KEPT = {"digits", "clothing", "digits-5-9"}
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    archive = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(archive) as path, zipfile.ZipFile(path) as opened:
        kept = [name for name in opened.namelist() if name.split("/")[1] in KEPT]
        opened.extractall(folder / "images", [name for name in kept if int(Path(name).stem) < 20])
        labelled = [name for name in kept if name.startswith("tasks/") and int(Path(name).stem) < 30]
        opened.extractall(folder / "labelled", labelled)
    return folder


@pytest.fixture(scope="module")
def run(home):
    def run(*arguments, code=0):
        env = os.environ | QUIET | {"GENEPOOL_HOME": str(home / "config"), "GENEPOOL_CACHE": str(home / "cache")}
        command = [str(BIN / arguments[0]), *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=home, timeout=300, check=False)
        assert done.returncode == code, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


@pytest.fixture(scope="module")
def pool(home):
    server = PoolProcess(home / "pool", home, "nano-32")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def anchors(pool):
    return pool.folder / "pool.json"


@pytest.fixture(scope="module")
def contributions(home, run, anchors):
    made = {}
    for name in ("digits", "clothing"):
        invite = home / f"invite-{name}.json"
        run("genepool-server", "invite", name, "--dir", "pool", "--out", invite)
        run(
            "genepool",
            "site",
            "init",
            f"site-{name}",
            "--invite",
            invite,
            "--data",
            home / "images" / "sites" / name,
            "--steps",
            6,
        )
        keyid = run("genepool", "site", "enrol", f"site-{name}", "--json")["keyid"]
        sites = {row["site"]: row for row in run("genepool-server", "sites", "--dir", "pool", "--json")}
        assert sites[name]["keyid"] == keyid
        refused = run("genepool", "site", "contribute", f"site-{name}", "--json", code=6)
        assert refused["error"] == "SITE_NOT_ACTIVE"
        assert run("genepool-server", "approve", name, "--dir", "pool", "--json")["state"] == "ACTIVE"
        made[name] = run("genepool", "site", "contribute", f"site-{name}", "--json")["contribution_id"]
    return made


def test_the_pool_lists_what_the_sites_hold_receipts_for(run, contributions):
    listed = {row["site"]: row for row in run("genepool-server", "contributions", "--dir", "pool", "--json")}
    assert {name: row["contribution_id"] for name, row in listed.items()} == contributions


def test_the_pool_reviews_them_and_tells_each_site_what_it_found(run, contributions):
    def states():
        return [row["state"] for row in run("genepool-server", "contributions", "--dir", "pool", "--json")]

    assert wait_until(lambda: states() == ["ACTIVE", "ACTIVE"], 240)
    for name in contributions:
        assert "1 is ACTIVE: passed every check, the screens and the canary" in run(
            "genepool", "site", "status", f"site-{name}"
        )


def test_contributing_again_sends_nothing_new(run, contributions):
    again = run("genepool", "site", "contribute", "site-digits", "--json")
    assert again["contribution_id"] == contributions["digits"]


def test_both_modes_of_selection_give_the_same_weights(home, run, anchors, contributions):
    support = home / "images" / "tasks" / "digits-5-9"
    home_made, pool_made = (
        run("genepool", "select", "--pool", anchors, "--support", support, mode, "--json")
        for mode in ("--private", "--remote")
    )
    assert home_made["weights"] == pool_made["weights"]
    assert home_made["reason"] == pool_made["reason"]
    assert len(home_made["candidates"]) == 2


def test_a_descendant_is_verified_loads_in_stock_timm_and_is_refused_when_a_byte_is_flipped(
    home, run, anchors, contributions
):
    support = home / "images" / "tasks" / "digits-5-9"
    out = home / "model"
    run("genepool", "descend", "--pool", anchors, "--support", support, "--max-params", "400k", "--out", out, "--json")
    run("genepool", "verify", out, "--pool", anchors)
    model = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=3).eval()
    assert sum(tensor.numel() for name, tensor in model.state_dict().items() if "head" not in name) <= 400_000
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    tuned = run("genepool", "finetune", out, "--data", support, "--epochs", 1, "--json")
    assert (tuned["held_out"], tuned["after"]) == (0, None), "it was selected on all of these images"
    labelled = home / "labelled" / "tasks" / "digits-5-9"
    tuned = run("genepool", "finetune", out, "--data", labelled, "--epochs", 1, "--out", home / "tuned", "--json")
    assert tuned["held_out"] > 0
    assert 0 <= tuned["after"] <= 1
    raw = bytearray((out / "model.safetensors").read_bytes())
    raw[-10_000] ^= 1
    (out / "model.safetensors").write_bytes(raw)
    assert run("genepool", "verify", out, "--pool", anchors, "--json", code=4)["error"] == "FOLDER_TAMPERED"


def test_the_store_is_consistent_to_the_last_byte(run, contributions):
    assert run("genepool-server", "fsck", "pool", "--json")["problems"] == []
