"""Pool, PostgreSQL, S3, HAProxy and Prometheus as processes, put together as deploy/compose.yaml says."""

import json
import os
import shutil
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import yaml

from genepool_protocol.machine.processes import Child, free_port, run_json, script
from tests.support import bound, stores

DEPLOY = Path(__file__).parents[2] / "deploy"
READY = 240.0
"""Seconds that a process may take to be ready: the machine may be busy."""


class MissingProgramError(Exception):
    """A program of the system is not installed."""


def program(name: str) -> str:
    """Where a program of Debian's packages is."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if path is None:
        raise MissingProgramError(f"{name} is not installed: apt-get install haproxy prometheus")
    return path


class Topology:
    """Everything is ended at the end of the block, in the reverse order.

    Args:
        root: an empty folder.

    Attributes:
        port: the one that everybody uses.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.pool, self.logs = root, root / "pool", root / "logs"
        self.port, self.entrance, self.metrics, self.screen = (free_port() for _ in range(4))
        self._undo = ExitStack()
        self.env = {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "GENEPOOL_HOME": str(root / "home"),
            "GENEPOOL_CACHE": str(root / "cache"),
        }

    def __enter__(self) -> Self:
        self.logs.mkdir()
        for name in ("haproxy", "prometheus"):
            program(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def spawn(self, name: str, *command: str, env: dict[str, str] | None = None) -> Child:
        """A process that is ended with the topology."""
        child = Child(name, command, self.logs / f"{name}.log", env=self.env | (env or {}), cwd=self.root)
        self._undo.callback(child.stop)
        return child

    def command(self, *words: str | Path) -> Any:
        """The JSON answer of a command of ours, which must succeed."""
        name, *rest = map(str, words)
        return json.loads(run_json([script(name), *rest, "--json"], env=self.env, cwd=self.root, seconds=600))

    def server(self, verb: str, *words: str | Path) -> Any:
        """The same of an operator's command on the pool."""
        return self.command("genepool-server", verb, *words, "--dir", self.pool)

    def start_pool(self) -> None:
        """A pool whose ledger is PostgreSQL and whose weights are on S3, behind a proxy that it knows."""
        words = ["--ledger", stores.database(), "--blobs", stores.prefix(), "--workers", "0", "--screening", "warn"]
        words += ["--entrance", f"127.0.0.1:{self.entrance}", "--gate", f"127.0.0.1:{free_port()}"]
        words += ["--proxy", "127.0.0.1", "--listen", "127.0.0.1:0", "--advertise", f"localhost:{self.port}"]
        self.command("genepool-server", "init", self.pool, *words)
        served = ["serve", str(self.pool), "--metrics", f"127.0.0.1:{self.metrics}", "--logs", "json"]
        self.spawn("pool", script("genepool-server"), *served).wait_for("serving ", READY)

    def start_proxy(self) -> None:
        """HAProxy with the file that compose mounts."""
        places = {"PUBLIC": f"127.0.0.1:{self.port}", "ENTRANCE": f"127.0.0.1:{self.entrance}"}
        child = self.spawn(
            "haproxy", program("haproxy"), "-db", "-f", str(DEPLOY / "proxy" / "haproxy.cfg"), env=places
        )
        until(lambda: bound.answers("127.0.0.1", self.port), child.tail)

    def start_prometheus(self) -> None:
        """Prometheus with the file that compose mounts, at this machine's port and in a hurry."""
        settings = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text(encoding="utf-8"))
        settings["global"]["scrape_interval"] = "1s"
        settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self.metrics}"]
        (self.root / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        words = ["--config.file", str(self.root / "prometheus.yml"), "--storage.tsdb.path", str(self.root / "numbers")]
        child = self.spawn(
            "prometheus", program("prometheus"), *words, "--web.listen-address", f"127.0.0.1:{self.screen}"
        )
        until(lambda: bound.answers("127.0.0.1", self.screen), child.tail)

    def asked(self, query: str) -> list[float]:
        """What Prometheus answers to a query."""
        url = f"http://127.0.0.1:{self.screen}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=20) as reply:
            rows = json.load(reply)["data"]["result"]
        return [float(row["value"][1]) for row in rows]


def until(condition: Any, account: Any) -> None:
    """Wait until it holds.

    Raises:
        AssertionError: it does not; with the account.
    """
    deadline = time.monotonic() + READY
    while not condition():
        assert time.monotonic() < deadline, account()
        time.sleep(0.2)
