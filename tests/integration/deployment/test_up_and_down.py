"""`genepool up` and `down` as they are typed: real pool, campaign and nodes, ended whatever has died meanwhile."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest

from genepool_protocol.machine.processes import script
from tests.support.images import write_classes
from tests.support.server import wait_until

pytestmark = pytest.mark.slow

ROOT = os.geteuid() == 0


def genepool(*words: str | Path, code: int = 0) -> dict:
    command = [script("genepool"), *map(str, words), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def left(folder: Path) -> list[str]:
    """Programs of a deployment that run: all of them, and what they start, know where its home is."""
    mark, rows = str(folder / "home"), []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GENEPOOL_HOME") == mark and process.status() != psutil.STATUS_ZOMBIE:
                rows.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return rows


def namespaces() -> set[str]:
    return set(subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split())


def words(folder: Path) -> list[str]:
    data = folder.parent / "images"
    return ["up", str(folder), "--sites", "2", "--steps", "2", "--workers", "0", "--data", str(data)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("up")
    for number, name in enumerate(("north", "south")):
        write_classes(root / "images" / name, {"a": 12, "b": 12}, np.random.default_rng(number))
    yield root / "genepool-up"
    if (root / "genepool-up").exists():
        genepool("down", root / "genepool-up")


def check_networks(started: dict) -> None:
    """Each site reaches the pool's address and nothing else; or it is said why not."""
    if not started["namespaces"]:
        assert started["shared_network"]
        return
    assert ROOT
    host, _, _ = started["pool"].rpartition(":")
    for name in started["namespaces"]:
        routes = subprocess.run(["ip", "-netns", name, "route"], capture_output=True, text=True, check=True).stdout
        assert [line.split()[0] for line in routes.splitlines()] == [host]
    nodes = [started["processes"][name] for name in ("site-north", "site-south")]
    networks = {str(Path(f"/proc/{pid}/ns/net").readlink()) for pid in (os.getpid(), *nodes)}
    assert len(networks) == 3


def test_a_pool_a_campaign_and_sites_run_until_down_ends_all_of_them(folder):
    started = genepool(*words(folder))
    processes = started["processes"]
    assert list(processes) == ["pool", "campaign", "site-north", "site-south"]
    assert genepool(*words(folder), code=5)["fix"] == f"end them with: genepool down {folder}"
    check_networks(started)
    report = folder / "campaign.json"
    assert wait_until(lambda: json.loads(report.read_text())["state"] == "completed", 240)
    assert {site["site"]: site["progress"] for site in json.loads(report.read_text())["sites"]} == {
        "north": "accepted",
        "south": "accepted",
    }
    os.kill(processes["pool"], signal.SIGSTOP)  # it hears no request to end for now
    os.kill(processes["pool"], signal.SIGKILL)
    assert "pool" not in genepool("down", folder)["ended"]
    assert left(folder) == []
    assert not set(started["namespaces"]) & (namespaces() if ROOT else set())
    assert genepool("down", folder) == {"ended": []}


@pytest.mark.parametrize("number", [signal.SIGKILL, None], ids=["up was killed", "up is at work"])
def test_down_ends_what_an_unfinished_up_has_started(folder, number):
    with subprocess.Popen([script("genepool"), *words(folder)], stderr=subprocess.DEVNULL) as up:
        assert wait_until(lambda: "serve" in " ".join(left(folder)), 60)
        if number:
            up.send_signal(number)
            up.wait(10)
            assert left(folder)
        genepool("down", folder)
        assert up.wait(10) == (-number if number else 130)
    assert left(folder) == []
    assert not any(name.startswith("genepool-") for name in (namespaces() if ROOT else ()))
