"""The proxies of deploy/proxy before a pool's entrance: everything goes through the one port that they have."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest

from genepool_client.consumer.pool import Pool
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_protocol.trust.anchors import read_anchors
from genepool_server import config
from tests.integration.site.world import World, condensed, last_received, submit
from tests.support import bound
from tests.support.images import write_classes
from tests.support.server import wait_until

pytestmark = pytest.mark.slow

CONFIGURATIONS = Path(__file__).parents[3] / "deploy" / "proxy"
ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def program(name: str) -> str:
    """Where a proxy is, or why its test is not run."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if path is None or (name == "nginx" and not STREAM.exists()):
        pytest.skip(
            f"{name} with its stream module is not installed: apt-get install haproxy nginx libnginx-mod-stream"
        )
    return path


class Behind:
    """A pool with an entrance that clients reach by a proxy alone; the proxy is given later."""

    def __init__(self, root: Path) -> None:
        self.root, self.port, self.entrance, self.gate = root, free_port(), free_port(), free_port()
        self.world = World(root)
        folder = self.world.pool.folder
        entrance = {"listen": f"127.0.0.1:{self.entrance}", "proxies": ["127.0.0.1"], "gate": f"127.0.0.1:{self.gate}"}
        settings = config.load(folder).model_dump() | {"advertise": f"localhost:{self.port}"}
        settings["entrance"] |= entrance
        (folder / "genepool.toml").write_text(config.parse(settings, "the test").to_toml())

    @contextlib.contextmanager
    def haproxy(self) -> Iterator[None]:
        places = {"PUBLIC": f"127.0.0.1:{self.port}", "ENTRANCE": f"127.0.0.1:{self.entrance}"}
        with self._running([program("haproxy"), "-db", "-f", str(CONFIGURATIONS / "haproxy.cfg")], places):
            yield

    @contextlib.contextmanager
    def nginx(self) -> Iterator[None]:
        text = (CONFIGURATIONS / "nginx.conf").read_text()
        text = text.replace("listen 443", f"listen 127.0.0.1:{self.port}")
        (self.root / "nginx.conf").write_text(text.replace("127.0.0.1:8443;", f"127.0.0.1:{self.entrance};"))
        ours = f"daemon off; pid {self.root}/nginx.pid; error_log {self.root}/nginx.log;"
        with self._running([program("nginx"), "-p", str(self.root), "-c", str(self.root / "nginx.conf"), "-g", ours]):
            yield

    @contextlib.contextmanager
    def _running(self, command: list[str], places: Mapping[str, str] | None = None) -> Iterator[None]:
        proxy = subprocess.Popen(command, env={**os.environ, **(places or {})})
        try:
            assert wait_until(lambda: bound.answers("127.0.0.1", self.port))
            yield
        finally:
            proxy.terminate()
            proxy.wait(10)

    @contextlib.contextmanager
    def nobody_goes_past(self, *others: Callable[[], int]) -> Iterator[None]:
        """This process and others, by their ids, speak with no port of the pool's while the block runs."""
        server = self.world._child.pid
        inner = {port for _, _, port in bound.listeners(server)} | {self.gate}
        assert self.entrance in inner
        seen, over = set(), threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                for pid in [os.getpid(), *(other() for other in others)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        for process in [psutil.Process(pid)] if pid == os.getpid() else bound.tree(pid):
                            seen.update(one.raddr.port for one in process.net_connections() if one.raddr)

        watcher = threading.Thread(target=watch)
        watcher.start()
        yield
        over.set()
        watcher.join()
        assert self.port in seen
        assert not seen & inner


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    root = tmp_path_factory.mktemp("behind")
    os.environ["GENEPOOL_CACHE"] = str(root / "cache")
    made = Behind(root)
    made.world.start()
    yield made
    made.world.stop()
    del os.environ["GENEPOOL_CACHE"]


def audited(behind: Behind, home: Path) -> dict:
    command = [script("genepool"), "log", "verify", "--pool", str(behind.world.anchors), "--json"]
    return json.loads(run_json(command, env={**ENV, "GENEPOOL_HOME": str(home)}, cwd=behind.root))


def test_enrolling_contributing_a_campaign_selecting_and_auditing_go_through_haproxy(behind, tmp_path):
    world, children = behind.world, []
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12}, np.random.default_rng(1))

    def start(name: str, *command: str) -> Child:
        children.append(
            Child(name, [script(command[0]), *command[1:]], tmp_path / f"{name}.log", env=ENV, cwd=tmp_path)
        )
        return children[-1]

    with behind.haproxy(), behind.nobody_goes_past(lambda: children[-1].pid if children else os.getpid()):
        site = world.site("north", data=data)
        assert site.config.anchors.address == f"localhost:{behind.port}"
        condensed(site, 1)
        first = submit(site)
        words = ["--min-sites", "1", "--deadline", "5m", "--dir", str(world.pool.folder)]
        campaign = Child(
            "campaign",
            [script("genepool-server"), "campaign", "start", *words],
            tmp_path / "campaign.log",
            env=ENV,
            cwd=tmp_path,
        )
        try:
            campaign.wait_for(f" is running at localhost:{behind.port}", 180)
            node = start("node", "genepool", "site", "run", str(site.path), "--yes")
            assert campaign.wait(300) == 0, node.tail(30) + campaign.tail(30)
        finally:
            for child in (*children, campaign):
                child.stop()
        second = last_received(site)
        with Pool(f"localhost:{behind.port}", read_anchors(world.anchors)) as pool:
            selection = pool.select(data, mode="remote")
        report = audited(behind, tmp_path / "home")
    assert {candidate.site for candidate in selection.candidates} == {"north"}  # a site has one place
    assert {first.contribution_id, second} <= set(world.contributions())
    assert (report["violations"], report["size"] > 0) == ([], True)


def test_enrolling_and_contributing_go_through_nginx(behind):
    with behind.nginx(), behind.nobody_goes_past():
        site = behind.world.site("south")
        condensed(site, 2)
        submitted = submit(site)
    assert behind.world.contributions()[submitted.contribution_id].site == "south"
