"""`genepool site run` against a real SuperLink: a receipt comes out, foreign code never runs, a leak never leaves."""

import json
import sys
import time
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genepool_protocol.machine.launching import QUIET
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_server.campaign import server_app
from genepool_server.campaign.fab import app_folder
from tests.integration.site.world import World, last_received
from tests.support.images import write_classes
from tests.support.notified import Manager

pytestmark = pytest.mark.slow

RUN = "from genepool_client.commands.site import app; from genepool_console import terminal; terminal.run(app, 'site')"

LEAKING = """
import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("contribute")
def leak(message, context):
    return Message(RecordDict({"w": ArrayRecord({"w": Array(np.zeros(9999))})}), reply_to=message)
"""


class Campaign:
    """A SuperLink on loopback and one guarded SuperNode of a site."""

    def __init__(self, world: World, root) -> None:
        self.root, self.report = root, root / "campaign.json"
        self.env = {
            **QUIET,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{script('flwr').rpartition('/')[0]}:/usr/bin:/bin",
            server_app.ANCHORS: str(world.anchors),
            server_app.IDENTITY: str(world.auditor()),
            server_app.REPORT: str(self.report),
        }
        self.children: list[Child] = []
        self.manager = Manager(root, 2.0)
        self.port = free_port()
        command = [script("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(self.port)]
        self.spawn("superlink", command, str(self.port))
        config = f'[superlink]\ndefault = "it"\n\n[superlink.it]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (root / "cli").mkdir()
        (root / "cli" / "config.toml").write_text(config)

    def spawn(self, name: str, command: list[str], ready: str, more: Mapping[str, str] = MappingProxyType({})) -> Child:
        home = self.root / name
        home.mkdir()
        child = Child(
            name, command, self.root / f"{name}.log", env={**self.env, **more, "FLWR_HOME": str(home)}, cwd=home
        )
        self.children.append(child)
        child.wait_for(ready, 180)
        return child

    def node(self, name: str, site, digest: str) -> None:
        words = ["run", str(site.path), "--superlink", f"127.0.0.1:{self.port}", "--allow-fab", digest]
        self.metrics = free_port()
        words += ["--port", str(free_port()), "--metrics", str(self.metrics)]
        self.spawn(name, [sys.executable, "-c", RUN, *words], "Starting Flower SuperNode", self.manager.variables)

    def flwr(self, *words: str) -> dict:
        env = {**self.env, "FLWR_HOME": str(self.root / "cli")}
        return json.loads(run_json([script("flwr"), *words, "--format", "json"], env=env, cwd=self.root / "cli"))

    def run(self, app) -> dict:
        started = self.flwr("run", str(app), "it", "-c", "min-nodes=1")
        run_id = str(started.get("run-id") or started["run_id"])
        for _ in range(180):
            if self.flwr("ls", "it", "--run-id", run_id)["runs"][0]["status"].startswith("finished"):
                return json.loads(self.report.read_text())
            time.sleep(1)
        raise AssertionError(self.children[0].tail(40))

    def numbers(self) -> dict[tuple[str, ...], float]:
        """What the last node shows: (name, label value, ...) -> value, the labels in the order of their names."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=20) as response:
            families = text_string_to_metric_families(response.read().decode())
        return {
            (one.name, *(one.labels[label] for label in sorted(one.labels))): one.value
            for family in families
            for one in family.samples
        }

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()
        self.manager.close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    world.start()
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12}, np.random.default_rng(0))
    yield world, world.site("guarded", data=data)
    world.stop()


def bundle_digest(app) -> str:
    """From a process of its own: flwr's builder warns of its own use of pathspec."""
    code = (
        "import hashlib, sys, pathlib; from flwr.cli.build import build_fab_from_disk as b; "
        "print('sha256:' + hashlib.sha256(b(pathlib.Path(sys.argv[1]))).hexdigest())"
    )
    return run_json([sys.executable, "-c", code, str(app)], env=QUIET, cwd=app).strip()


def leaking_app(folder):
    """The campaign's ServerApp with a ClientApp of its own in the bundle."""
    folder.mkdir()
    text = (app_folder() / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text.replace("genepool_client.site.flower.client_app:app", "leaking:app"))
    (folder / "leaking.py").write_text(LEAKING)
    return folder


def test_a_receipt_leaves_and_nothing_else_does(site, tmp_path):
    world, folder = site
    campaign = Campaign(world, tmp_path)
    leaky = leaking_app(tmp_path / "leaky")
    try:
        campaign.node("node", folder, bundle_digest(app_folder()))
        report = campaign.run(app_folder())
        assert [row["result"] for row in report["sites"]] == ["accepted"]
        assert report["sites"][0]["claim"]["contribution_id"] == last_received(folder)

        report = campaign.run(leaky)
        assert [row["reason"] for row in report["sites"]] == ["[1000] refused by the site's egress guard"]
        log = (tmp_path / "node.log").read_text()
        assert "is not in the site's config" in log
        assert all("event" in json.loads(line) for line in log.splitlines() if line.startswith("{"))
        assert campaign.manager.hears("READY=1")
        assert any("answers invitations from" in line for line in campaign.manager.said)
        assert campaign.manager.hears("WATCHDOG=1")
        numbers = campaign.numbers()
        assert numbers["genepool_site_replies_total", "receipt"] == 1
        assert numbers["genepool_site_outbox", "received"] == 1
        assert numbers["genepool_site_bundles_total", "refused"] >= 1
        assert numbers["genepool_site_calls_total", "OK", "ContributeService/Commit"] == 1
        assert "HTTP Request" not in log
        others = [line for line in log.splitlines() if not line.startswith("{")]  # Flower's own programs say little
        assert [line for line in others if "Successfully installed" not in line and "WARNING" not in line] == []

        # even when the site's people have accepted that bundle
        campaign.children.pop().stop()
        assert campaign.manager.hears("STOPPING=1")
        campaign.node("again", folder, bundle_digest(leaky))
        report = campaign.run(leaky)
        assert "[1001] refused by the site's egress guard" in [row["reason"] for row in report["sites"]]
    finally:
        campaign.stop()
