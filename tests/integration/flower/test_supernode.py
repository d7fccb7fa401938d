"""`genepool site run` against a real SuperLink: a receipt comes out, and whatever a hostile ServerApp does, no more."""

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genepool_client.site import outbox
from genepool_client.site.flower import failures
from genepool_protocol.machine.launching import QUIET
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_server.campaign import server_app
from genepool_server.campaign.fab import app_folder
from tests.integration.site.world import World, last_received
from tests.support.flower import told_as
from tests.support.images import write_classes
from tests.support.notified import Manager
from tests.support.server import wait_until

pytestmark = pytest.mark.slow

RUN = "from genepool_client.commands.site import app; from genepool_console import terminal; terminal.run(app, 'site')"

LEAKING = """
import pathlib
import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("contribute")
def leak(message, context):
    return Message(RecordDict({"w": ArrayRecord({"w": Array(np.zeros(9999))})}), reply_to=message)
"""

RAISING = """
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("contribute")
def fail(message, context):
    raise RuntimeError("no image /data/jane-doe/left-eye.png")
"""

MARKING = """
import os, pathlib

pathlib.Path(os.environ["HOSTILE_MARK"]).touch()
"""

HOSTILE = """
import json, os, pathlib, time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()
ASKED = {"arrays": ["train", "query.contribute"], "flood": ["query.contribute"] * 3, "silent": ["query.contribute"]}


@app.main()
def main(grid, context):
    while not (nodes := [info.node_id for info in grid.get_nodes()]):
        time.sleep(0.5)
    asked = ASKED[context.run_config["mode"]]
    arrays = ArrayRecord({"w": Array(np.zeros(99))})
    content = RecordDict({"config": ConfigRecord({"send": "weights, images", "text": "x" * 9999}), "arrays": arrays})
    waiting = set(grid.push_messages([Message(content, nodes[0], kind, ttl=170.0) for kind in asked]))
    if context.run_config["mode"] == "silent":
        while not pathlib.Path(os.environ["HOSTILE_STOP"]).exists():
            time.sleep(0.5)
        return
    replies = []
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            waiting.discard(reply.metadata.reply_to_message_id)
            replies.append(told(reply))
        time.sleep(0.5)
    pathlib.Path(os.environ["HOSTILE_REPORT"]).write_text(json.dumps(replies))


def told(reply):
    if reply.has_error():
        return f"[{reply.error.code}] {reply.error.reason}"
    return {name: {key: str(value) for key, value in record.items()} for name, record in reply.content.items()}
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
            **{name: str(root / name) for name in ("HOSTILE_REPORT", "HOSTILE_STOP", "HOSTILE_MARK")},
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

    def begin(self, app, config: str) -> str:
        started = self.flwr("run", str(app), "it", "-c", config)
        return str(started.get("run-id") or started["run_id"])

    def ended(self, run_id: str) -> bool:
        return self.flwr("ls", "it", "--run-id", run_id)["runs"][0]["status"].startswith("finished")

    def run(self, app, config: str = "min-nodes=1") -> None:
        run_id = self.begin(app, config)
        assert wait_until(lambda: self.ended(run_id), 200), self.children[0].tail(40)

    def results(self, app) -> list[dict]:
        """What the campaign's own ServerApp says of each site."""
        self.run(app)
        return json.loads(self.report.read_text())["sites"]

    def replies(self, app, mode: str) -> list:
        """What a hostile ServerApp got."""
        path = self.root / "HOSTILE_REPORT"
        path.unlink(missing_ok=True)
        self.run(app, f"mode='{mode}'")
        return json.loads(path.read_text())

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


def bundle_digest(app) -> str:
    """From a process of its own: flwr's builder warns of its own use of pathspec."""
    code = (
        "import hashlib, sys, pathlib; from flwr.cli.build import build_fab_from_disk as b; "
        "print('sha256:' + hashlib.sha256(b(pathlib.Path(sys.argv[1]))).hexdigest())"
    )
    return run_json([sys.executable, "-c", code, str(app)], env=QUIET, cwd=app).strip()


def bundle(folder, *, version: str = "0.1.0", server: str = "", **clients: str):
    """The campaign's app with a part of its own in the bundle: under our name, whatever the version."""
    folder.mkdir()
    text = (app_folder() / "pyproject.toml").read_text().replace('version = "0.1.0"', f'version = "{version}"')
    for name, code in clients.items():
        text = text.replace("genepool_client.site.flower.client_app:app", f"{name}:app")
        (folder / f"{name}.py").write_text(code)
    if server:
        text = text.replace("genepool_server.campaign.server_app:app", "hostile:app") + 'mode = "arrays"\n'
        (folder / "hostile.py").write_text(server)
    (folder / "pyproject.toml").write_text(text)
    return folder


class Scene:
    """A site whose people accepted three bundles too many, its node, and the campaign server that it is in."""

    def __init__(self, root) -> None:
        self.root = root
        self.world = World(root / "world")
        self.world.start()
        data = write_classes(root / "data", {"a": 12, "b": 12}, np.random.default_rng(0))
        self.site = self.world.site("guarded", data=data)
        self.campaign = Campaign(self.world, root)
        self.foreign = bundle(root / "foreign", leaking=LEAKING + MARKING)
        self.leaking = bundle(root / "leaking", version="0.1.1", leaking=LEAKING)
        self.raising = bundle(root / "raising", version="0.1.2", raising=RAISING)
        self.hostile = bundle(root / "hostile", version="0.1.3", server=HOSTILE)
        accepted = (self.leaking, self.raising, self.hostile)
        self.site.change(fabs=[bundle_digest(app) for app in accepted])
        self.campaign.node("node", self.site, bundle_digest(app_folder()))

    @property
    def log(self) -> str:
        return (self.root / "node.log").read_text()

    def received(self) -> bool:
        return any(artefact.received for artefact in outbox.artefacts(self.site))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    root = tmp_path_factory.mktemp("supernode")
    (root / "world").mkdir()
    os.environ["GENEPOOL_CACHE"] = str(root / "cache")
    opened = Scene(root)
    yield opened
    opened.campaign.stop()
    opened.world.stop()
    del os.environ["GENEPOOL_CACHE"]


def test_a_receipt_leaves_and_nothing_else_does(scene):
    rows = scene.campaign.results(app_folder())
    assert [row["result"] for row in rows] == ["accepted"]
    assert rows[0]["claim"]["contribution_id"] == last_received(scene.site)
    numbers = scene.campaign.numbers()
    assert numbers["genepool_site_replies_total", "receipt"] == 1
    assert numbers["genepool_site_outbox", "received"] == 1
    assert numbers["genepool_site_calls_total", "OK", "ContributeService/Commit"] == 1
    assert all("event" in json.loads(line) for line in scene.log.splitlines() if line.startswith("{"))
    assert "HTTP Request" not in scene.log
    others = [line for line in scene.log.splitlines() if not line.startswith("{")]  # Flower's own programs say little
    assert [line for line in others if "Successfully installed" not in line and "WARNING" not in line] == []


def test_attack_code_in_a_bundle_under_our_name_and_version_is_not_run(scene):
    assert [row["reason"] for row in scene.campaign.results(scene.foreign)] == [told_as(failures.UNPINNED)]
    assert "is not in the site's config" in scene.log
    assert scene.campaign.numbers()["genepool_site_bundles_total", "refused"] >= 1
    assert not (scene.root / "HOSTILE_MARK").exists()


def test_attack_arrays_do_not_leave_even_from_a_bundle_that_was_accepted(scene):
    assert [row["reason"] for row in scene.campaign.results(scene.leaking)] == [told_as(failures.GUARDED)]


def test_attack_the_text_of_an_error_does_not_leave(scene):
    assert [row["reason"] for row in scene.campaign.results(scene.raising)] == [told_as(failures.FAILED)]
    assert "jane" not in (scene.root / "superlink.log").read_text()


def test_attack_who_asks_for_arrays_gets_a_receipt(scene):
    replies = scene.campaign.replies(scene.hostile, "arrays")
    receipts = [reply["receipt"] for reply in replies if isinstance(reply, dict)]
    assert [reply for reply in replies if isinstance(reply, str)] == [told_as(failures.FAILED)]  # to "train"
    assert [set(reply) for reply in replies if isinstance(reply, dict)] == [{"receipt"}]
    assert [receipt["contribution-id"] for receipt in receipts] == [last_received(scene.site)]


def test_attack_who_floods_gets_the_same_receipt_each_time(scene):
    replies = scene.campaign.replies(scene.hostile, "flood")
    assert {reply["receipt"]["contribution-id"] for reply in replies} == {last_received(scene.site)}
    assert len(replies) == 3
    mine = [held for held in scene.world.contributions().values() if held.site == "guarded"]
    assert len(mine) == 1


def test_who_never_takes_an_answer_holds_no_node(scene):
    stop = scene.root / "HOSTILE_STOP"
    run_id = scene.campaign.begin(scene.hostile, "mode='silent'")
    assert wait_until(scene.received, 170)
    assert not scene.campaign.ended(run_id)
    assert [row["result"] for row in scene.campaign.results(app_folder())] == ["accepted"]  # beside it
    stop.touch()
    assert wait_until(lambda: scene.campaign.ended(run_id), 60)


def test_whoever_started_the_node_hears_that_it_is_ready_alive_and_going_down(scene):
    manager = scene.campaign.manager
    assert manager.hears("READY=1")
    assert any("answers invitations from" in line for line in manager.said)
    assert manager.hears("WATCHDOG=1")
    scene.campaign.children.pop().stop()
    assert manager.hears("STOPPING=1")
