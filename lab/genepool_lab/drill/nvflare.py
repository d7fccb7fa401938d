"""NVFlare's FedAvg over the drill's sites: its own server and clients, provisioned by its own tool, as real processes.

NVFlare has an environment of its own: its packages and ours need not fit together. What runs in it is beside this file,
in `nvflare_side/`, and knows numpy alone; a round's training is a process of our environment (`round.py`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.roles.network import Network
from genepool_console import terminal
from genepool_lab.drill import watching
from genepool_lab.drill.cast import DEADLINE, LIMIT, OUTAGE, ROUNDS, SITES, Drilled
from genepool_protocol.machine.processes import Child, free_port
from genepool_protocol.wire.errors import Unavailable

PACKAGES: Final = ("nvflare==2.9.0", "numpy>=2")
DEFAULT: Final = ("default", "defaults: FedAvg, min_clients all eight, no time limit")
TOLERANT: Final = ("tolerant", "ScatterAndGather, min_clients=4, ignore_result_error=True, time limits")
_SIDE: Final = Path(__file__).parent / "nvflare_side"
_OURS: Final = str(Path(__file__).parents[2])
"""Where NVFlare's Python finds `kept`, which needs numpy alone."""
_PROJECT: Final = "drill"
_ADMIN: Final = "admin@drill.example"
_POLL: Final = 0.5  # seconds
_ASK: Final = 10  # polls between two questions for the job's state
_READY: Final = 120.0  # seconds


def drill(
    folder: Path, scenario: Scenario, settings: tuple[str, str], environment: Path | None, allow: float
) -> Drilled:
    """One run; says so where NVFlare's package does not install. The arguments as in `flower.drill`."""
    name, said = settings
    try:
        python = _python(environment or folder.parent / "nvflare-env")
    except subprocess.CalledProcessError as exc:
        return Drilled("NVFlare FedAvg", said, outcome=f"not run: pip install ended with {exc.returncode}")
    watching.prepare(folder, scenario)
    flare = _Flare(folder, python, allow)
    watch = watching.FaultWatch(folder, flare.nodes, allow * LIMIT)
    try:
        return watching.run(folder, watch, lambda: flare.play(name, watch), "NVFlare FedAvg", said)
    finally:
        flare.stop()


def _python(environment: Path) -> Path:
    """The Python of NVFlare's environment, which is made where there is none.

    Raises:
        CalledProcessError: it cannot be made.
    """
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        terminal.say(f"installing {PACKAGES[0]} into {environment}")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


@dataclass(frozen=True, slots=True)
class _Kit:
    """A participant's folder, as NVFlare's provisioning made it."""

    folder: Path
    module: str
    settings: str
    options: tuple[str, ...]


class _Flare:
    """A server, eight clients and the job.

    Args:
        folder: of the run.
        python: of NVFlare's environment.
        allow: see `drill`.
    """

    def __init__(self, folder: Path, python: Path, allow: float) -> None:
        self._folder, self._python, self._port = folder, python, free_port()
        self._terms = {"sites": SITES, "rounds": ROUNDS, "deadline": round(allow * DEADLINE)}
        self._server: Child | None = None
        self._network: Network | None = None
        self.nodes = watching.Nodes(self._client)

    def play(self, settings: str, watch: watching.FaultWatch) -> None:
        """Start everything, submit the job and wait for its end.

        Raises:
            Unavailable: SIMULATION_FAILED.
            OverTimeError: as `FaultWatch.look`.
        """
        kits = self._provision()
        self._server = self._started("server", _Kit(kits / "server", "server.server_train", "fed_server.json", ()))
        self._network = watch.network = Network(f"127.0.0.1:{self._port}")
        self._server.wait_for("Server started", _READY)
        for site in range(SITES):
            self.nodes.start(site)
        job = self._admin("submit", settings).strip()
        ticks = 0
        while True:
            watch.look()
            ticks += 1
            state = self._admin("state", job).strip() if ticks % _ASK == 0 else "RUNNING"
            if state.startswith("FINISHED"):
                if state != "FINISHED:COMPLETED":
                    raise Unavailable("SIMULATION_FAILED", f"the job ended as {state}", self._server.tail(20))
                return
            time.sleep(_POLL)

    def _provision(self) -> Path:
        people = [{"name": _ADMIN, "type": "admin", "org": "drill", "role": "project_admin"}]
        server = {"name": "server", "type": "server", "org": "drill", "fed_learn_port": self._port}
        clients = [{"name": f"site-{site}", "type": "client", "org": "drill"} for site in range(SITES)]
        impl = "nvflare.lighter.impl"
        project = {
            "api_version": 3,
            "name": _PROJECT,
            "participants": [server | {"default_host": "localhost"}, *clients, *people],
            "builders": [
                {
                    "path": f"{impl}.workspace.WorkspaceBuilder",
                    "args": {"template_file": ["master_template.yml"]},
                },
                {"path": f"{impl}.static_file.StaticFileBuilder", "args": {"config_folder": "config"}},
                {"path": f"{impl}.cert.CertBuilder"},
                {"path": f"{impl}.signature.SignatureBuilder"},
            ],
        }
        path = self._folder / "project.yml"
        path.write_text(json.dumps(project))  # which is YAML, too
        command = [str(self._python), "-m", "nvflare.lighter.provision", "-p", str(path), "-w", str(self._folder)]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)
        return self._folder / _PROJECT / "prod_00"

    def _client(self, site: int) -> Child:
        kit = self._folder / _PROJECT / "prod_00" / f"site-{site}"
        if site == OUTAGE and self._network:
            settings = kit / "startup" / "fed_client.json"
            port = self._network.address.rpartition(":")[2]
            settings.write_text(settings.read_text().replace(f":{self._port}", f":{port}"))
        name = f"site-{site}"
        return self._started(name, _Kit(kit, "client.client_train", "fed_client.json", (f"uid={name}",)))

    def _started(self, name: str, kit: _Kit) -> Child:
        command = [str(self._python), "-u", "-m", f"nvflare.private.fed.app.{kit.module}"]
        command += ["-m", str(kit.folder), "-s", kit.settings, "--set", *kit.options]
        command += ["secure_train=true", "config_folder=config", "org=drill"]
        env = {
            "PYTHONPATH": _OURS,
            "DRILL_PYTHON": sys.executable,
            "DRILL_FOLDER": str(self._folder),
        }
        return Child(f"NVFlare's {name}", command, self._folder / f"{name}.log", env=env, cwd=kit.folder)

    def _admin(self, what: str, argument: str) -> str:
        kit = self._folder / _PROJECT / "prod_00" / _ADMIN
        words = [str(self._python), str(_SIDE / "admin.py"), str(kit), _ADMIN, what, argument]
        env = os.environ | {"PYTHONPATH": _OURS, "DRILL_TERMS": json.dumps(self._terms)}
        done = subprocess.run(
            words, capture_output=True, text=True, env=env, cwd=self._folder, timeout=180, check=False
        )
        if done.returncode:
            raise Unavailable("SIMULATION_FAILED", f"NVFlare's {what} ended with {done.returncode}", done.stderr)
        return done.stdout.splitlines()[-1]

    def stop(self) -> None:
        """End everything."""
        self.nodes.stop()
        ends: list[Callable[[], None]] = [part.stop for part in (self._server,) if part]
        ends += [self._network.close] if self._network else []
        for end in ends:
            end()
