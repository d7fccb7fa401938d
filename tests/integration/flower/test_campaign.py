"""Campaigns by their commands: real Flower processes between a real pool and real sites."""

import json
import os
import signal
import ssl
import stat
import subprocess
import sys

import httpx
import numpy as np
import psutil
import pytest
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from genepool_client.site.flower import failures, joining
from genepool_client.site.folder import SiteFolder
from genepool_protocol.machine.processes import Child, run_json, script
from genepool_server.commands import operating
from tests.integration.site.world import World, last_received
from tests.support import bound
from tests.support.flower import told_as
from tests.support.images import write_classes
from tests.support.server import wait_until

pytestmark = pytest.mark.slow

ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

SITE = "from genepool_client.commands.site import app; from genepool_console import terminal; terminal.run(app, 'site')"
IMPATIENT = f"from genepool_client.site.flower import ending; ending.LOOK = 2.0; {SITE}"
UNWILLING = f"from genepool_client.site.flower import joining; joining._accept = lambda *_: None; {SITE}"

ASK = """
import os, socket, ssl, sys
context = ssl._create_unverified_context()
os.setuid(int(sys.argv[1]))
plain = socket.socket()
plain.settimeout(20)
plain.connect(("127.0.0.1", int(sys.argv[2])))
asking = context.wrap_socket(plain)
asking.sendall(b"POST /v1/control/list-runs HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n")
print(asking.recv(99).split()[1].decode())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    os.environ["GENEPOOL_CACHE"] = str(root / "cache")
    made = World(root)
    made.start()
    yield made
    made.stop()
    del os.environ["GENEPOOL_CACHE"]


class Campaign:
    """One campaign of a world's pool, with the nodes that sites run."""

    def __init__(self, world: World, root) -> None:
        self.world, self.root, self.report = world, root, root / "report.json"
        self.children: list[Child] = []

    def spawn(self, name: str, command: list[str]) -> Child:
        child = Child(name, command, self.root / f"{name}.log", env=ENV, cwd=self.root)
        self.children.append(child)
        return child

    def start(self, *words: str) -> Child:
        command = [script("genepool-server"), "campaign", "start", "--dir", str(self.world.pool.folder)]
        command += ["--listen", "127.0.0.1:0", "--report", str(self.report), *words]
        child = self.spawn("campaign", command)
        child.wait_for(" is running at ", 60)
        return child

    def resume(self, campaign: str) -> Child:
        command = [script("genepool-server"), "campaign", "resume", campaign, "--dir", str(self.world.pool.folder)]
        child = self.spawn("campaign", [*command, "--report", str(self.report)])
        child.wait_for(" is running at ", 60)
        return child

    def node(self, site: SiteFolder, name: str = "") -> Child:
        name = name or site.config.name
        return self.spawn(name, [script("genepool"), "site", "run", str(site.path), "--yes"])

    def told(self) -> dict:
        return json.loads(self.report.read_text())

    def sites(self) -> dict[str, dict]:
        return {site["site"]: site for site in self.told()["sites"]}

    def server(self, *words: str):
        command = [script("genepool-server"), "campaign", *words, "--dir", str(self.world.pool.folder), "--json"]
        return json.loads(run_json(command, env=ENV, cwd=self.root))

    def ended(self, child: Child, seconds: float = 180) -> int:
        code = child.wait(seconds)
        assert code is not None, child.tail(30)
        return code

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()


@pytest.fixture
def campaign(world, tmp_path):
    made = Campaign(world, tmp_path)
    yield made
    made.stop()


def site(world: World, name: str, number: int, *, images: bool = True) -> SiteFolder:
    data = write_classes(world.root / f"data-{name}", {"a": 12, "b": 12}, np.random.default_rng(number))
    return world.site(name, data=data if images else None)


def superlink(child: Child) -> psutil.Process:
    return next(
        process
        for process in psutil.Process(child.pid).children(recursive=True)
        if "genepool_server.campaign.superlink" in process.cmdline()
    )


def test_two_sites_contribute_and_the_record_stays(world, campaign):
    folders = [site(world, "north", 1), site(world, "south", 2)]
    child = campaign.start("--min-sites", "2", "--deadline", "5m", "--sites", "north,south")
    for folder in folders:
        campaign.node(folder)
    assert campaign.ended(child) == 0, child.tail(40)
    sites = campaign.sites()
    assert {name: row["progress"] for name, row in sites.items()} == {"north": "accepted", "south": "accepted"}
    for folder in folders:
        assert sites[folder.config.name]["contribution_id"] == last_received(folder)
    assert set(world.contributions()) >= {row["contribution_id"] for row in sites.values()}
    told = campaign.told()
    assert (told["state"], told["accepted"]) == ("completed", 2)
    assert campaign.server("show", told["id"][:4]) == told
    assert [row["id"] for row in campaign.server("list")] == [told["id"]]
    kept = world.pool.folder / "campaigns"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert stat.S_IMODE((kept / f"{told['id']}.json").stat().st_mode) == 0o600
    assert not (kept / told["id"] / "tls.pem").exists()


def test_a_missed_quorum_is_told_by_the_exit_code_and_the_report(world, campaign):
    folder = site(world, "unwilling", 3)
    folder.change(fabs=["sha256:" + "0" * 64])  # the guard refuses the campaign's bundle, before a process is started
    site(world, "away", 4)
    child = campaign.start("--min-sites", "2", "--deadline", "30s", "--sites", "unwilling,away", "--json")
    campaign.spawn("unwilling", [sys.executable, "-c", UNWILLING, "run", str(folder.path)])
    assert campaign.ended(child) == 5
    sites = campaign.sites()
    assert sites["unwilling"]["reason"] == told_as(failures.UNPINNED)
    assert (sites["away"]["progress"], sites["away"]["invitations"]) == ("absent", 0)
    assert "genepool site run DIR" in sites["away"]["reason"]
    assert campaign.told()["state"] == "quorum missed"
    assert '"error": "QUORUM_MISSED"' in child.log.read_text()


def test_a_node_that_was_killed_and_comes_back_is_invited_again(world, campaign):
    folder = site(world, "east", 5)
    child = campaign.start("--min-sites", "1", "--deadline", "5m", "--sites", "east")
    node = campaign.node(folder)
    assert wait_until(lambda: campaign.sites()["east"]["progress"] == "invited", 60)
    for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
        process.kill()
    campaign.node(folder, "again")
    assert campaign.ended(child) == 0, child.tail(40)
    row = campaign.sites()["east"]
    assert (row["progress"], row["invitations"] >= 2) == ("accepted", True)


def test_when_the_superlink_dies_the_campaign_goes_on_with_who_has_not_contributed(world, campaign):
    first, second = (site(world, name, number) for name, number in (("west", 6), ("far-west", 7)))
    child = campaign.start("--min-sites", "2", "--deadline", "5m", "--sites", "west,far-west")
    campaign.node(first)
    assert wait_until(lambda: campaign.sites()["west"]["progress"] == "accepted", 150)
    contributed = campaign.sites()["west"]
    superlink(child).kill()
    campaign.node(second)
    assert campaign.ended(child, 180) == 0, child.tail(40)
    told = campaign.told()
    assert (told["state"], told["accepted"], told["restarts"]) == ("completed", 2, 1)
    assert campaign.sites()["west"] == contributed  # it was not asked again
    assert not list((world.pool.folder / "campaigns" / told["id"]).glob("superlink.sqlite*"))


def test_a_superlink_that_never_comes_back_fails_the_campaign_at_its_deadline(world, campaign):
    site(world, "nobody", 8, images=False)
    child = campaign.start("--min-sites", "1", "--deadline", "25s", "--sites", "nobody")
    for path in (world.pool.folder / "campaigns" / campaign.told()["id"]).glob("superlink.sqlite*"):
        path.unlink()
        path.mkdir()
    superlink(child).kill()
    assert campaign.ended(child) == 5
    told = campaign.told()
    assert (told["state"], told["restarts"] >= 1, bool(told["ended"])) == ("failed", True, True)
    assert "CAMPAIGN_FAILED" in child.log.read_text()


def test_a_campaign_whose_process_was_killed_is_gone_on_with(world, campaign):
    first, second = (site(world, name, number) for name, number in (("north-east", 9), ("south-east", 10)))
    child = campaign.start("--min-sites", "2", "--deadline", "5m", "--sites", "north-east,south-east")
    node = campaign.spawn("first", [sys.executable, "-c", IMPATIENT, "run", str(first.path), "--yes"])
    assert wait_until(lambda: campaign.sites()["north-east"]["progress"] == "accepted", 150)
    before, flower = campaign.told(), superlink(child)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert wait_until(lambda: not flower.is_running(), 20)
    told = campaign.server("show", before["id"])
    assert (told["state"], "without a word" in told["note"], told["ended"]) == ("interrupted", True, "")
    campaign.node(second)  # waits with the first one
    assert wait_until(lambda: "this node waits" in node.log.read_text(), 30)
    assert node.returncode is None
    again = campaign.resume(before["id"])
    assert campaign.ended(again, 180) == 0, again.tail(40)
    told = campaign.told()
    assert (told["id"], told["state"], told["address"]) == (before["id"], "completed", before["address"])
    assert campaign.sites()["north-east"] == before["sites"][0]  # it was not asked again
    assert campaign.ended(node) == 0
    assert "its campaign is over" in node.log.read_text()


def test_its_processes_are_closed_to_others(world, campaign):
    child = campaign.start("--min-sites", "1", "--deadline", "5m")
    rows = bound.listeners(child.pid)
    assert [row for row in rows if not bound.is_loopback(row[1])] == []
    assert bound.core_limits(child.pid) == {("0", "0")}
    assert bound.open_to_others(world.pool.folder / "campaigns") == []
    if os.getuid() == 0:
        (port,) = {port for _, _, port in bound.listeners(superlink(child).pid)}
        other, own = (status(port, user) for user in (65534, 0))
        assert (other, own == 403) == (403, False)


def status(port: int, user: int) -> int:
    """The HTTP status that a user of this machine gets of the SuperLink itself."""
    command = [sys.executable, "-I", "-c", ASK, str(user), str(port)]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def test_stopping_ends_it_and_only_registered_nodes_of_active_sites_pass(world, campaign):
    folder = site(world, "centre", 7)
    child = campaign.start("--min-sites", "1", "--deadline", "5m", "--sites", "centre")
    told = campaign.told()
    for path, status in (("control/list-runs", 404), ("fleet/register-node", 404), ("fleet/pull-messages", 401)):
        assert asked(world, f"https://{told['address']}/v1/{path}") == status
    agreed = []
    link = joining.join(folder, lambda offer: not agreed.append(offer), 0)
    assert ([offer.id for offer in agreed], link.superlink) == ([told["id"]], told["address"])
    assert folder.config.fabs == [told["bundle"]]
    record = world.pool.folder / "campaigns" / f"{told['id']}.json"
    assert list(json.loads(record.read_text())["nodes"]) == ["centre"]
    with operating.operate(world.pool.folder) as operator:
        operator.sites.suspend("centre")
    assert wait_until(lambda: json.loads(record.read_text())["nodes"] == {}, 20)
    assert wait_until(lambda: "SUSPENDED" in campaign.sites()["centre"]["reason"], 20)  # the report follows the record
    assert campaign.server("stop", told["id"])["state"] == "stopped"
    assert campaign.ended(child) == 130
    assert campaign.told()["state"] == "stopped"


def asked(world: World, url: str) -> int:
    """The status of an unsigned request."""
    trusting = ssl.create_default_context(cafile=world.pool.folder / "keys" / "ca.crt")
    return httpx.post(url, headers={"content-type": PROTOBUF_MEDIA_TYPE}, verify=trusting).status_code
