"""Flower under our control, as a rule its simulation engine: own SuperLink, home and working folder, closed Ray."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, NoReturn

import httpx

from genepool_protocol.machine import variables
from genepool_protocol.machine.flower import check_version
from genepool_protocol.machine.launching import no_core_dumps, ray_environment, ray_folder
from genepool_protocol.machine.private_folder import OwnedFolder
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_protocol.wire.errors import Unavailable

if TYPE_CHECKING:
    from flwr.supercore.control import ControlHttpClient

_READY = 60.0  # seconds
_POLL = 0.5  # seconds
_ASK = 1.0  # seconds between two questions to the SuperLink


class Fleet:
    """Runs the campaign once over simulated sites.

    Args:
        root: an existing folder; everything of Flower's goes below it.
        sites_root: holds `site-000`, `site-001`, ... (GENEPOOL_SIMULATION_ROOT of the ClientApps).
        env: further environment of every Flower process.
        simulated: whether Flower's engine plays the sites; else they are SuperNodes that somebody else starts.
    """

    def __init__(self, root: Path, sites_root: Path, env: dict[str, str], *, simulated: bool = True) -> None:
        self._simulated = simulated
        self._empty, self._home, self._cli = root / "cwd", root / "home", root / "cli"
        for folder in (root, self._empty, self._home, self._cli):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._log = root / "superlink.log"
        self._env = {
            **env,
            variables.SIMULATION_ROOT.name: str(sites_root),
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(256 << 20),  # it holds invitations and receipts
            "RAY_worker_niceness": "0",  # else beside anything that computes the simulated sites hardly do
            # flwr finds its helpers on PATH, and they must be those of this environment
            "PATH": f"{Path(script('flwr')).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self._child: Child | None = None
        self._ray: OwnedFolder | None = None

    def run(
        self,
        fab: Path,
        sites: int,
        parallel: int,
        config: dict[str, Any],
        watch: Callable[[], None],
        ready: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """Invite every simulated site once and wait for the campaign to end; `watch` is called while it runs.

        Args:
            fab: the code-free app folder.
            sites: number of simulated sites.
            parallel: how many ClientApps run at once.
            config: run configuration; only keys that the app declares.
            watch: called twice a second.
            ready: told HOST:PORT of the SuperLink before the campaign starts.

        Raises:
            Unavailable: SIMULATION_FAILED, with what Flower noted about the run.
        """
        port = free_port()
        self._start(port)
        (self._cli / "config.toml").write_text(
            f'[superlink]\ndefault = "sim"\n\n[superlink.sim]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        )
        ready(f"127.0.0.1:{port}")
        federation = f"num-supernodes={sites} client-resources-num-cpus=1 init-args-num-cpus={parallel}"
        command = [script("flwr"), "run", str(fab), "sim", "--format", "json"]
        if self._simulated:
            command += ["--federation-config", federation]
        if config:
            command += ["-c", " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())]
        started = json.loads(run_json(command, env=self._cli_env, cwd=self._empty))
        if not started.get("run-id"):
            self._fail(f"Flower did not start the campaign: {started}")
        with _control(port) as control:
            self._wait(control, int(started["run-id"]), watch)

    @property
    def _cli_env(self) -> dict[str, str]:
        return {**self._env, "FLWR_HOME": str(self._cli)}

    def _start(self, port: int) -> None:
        no_core_dumps()  # the children take it from us
        # Flower's control has no log-in: instead of one, our launcher answers nobody but this user's own processes
        command = [sys.executable, "-m", "genepool_protocol.machine.superlink", "--insecure"]
        command += ["--simulation"] if self._simulated else []
        command += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
        self._ray = ray_folder()
        env = {**ray_environment(self._ray.path), **self._env, "FLWR_HOME": str(self._home)}
        self._child = Child("Flower's SuperLink", command, self._log, env=env, cwd=self._empty)
        self._child.wait_for(f"{port}", _READY)

    def _wait(self, control: "ControlHttpClient", run_id: int, watch: Callable[[], None]) -> None:
        # `flwr run --stream` ends with 0 whatever happens, so the run's own state is asked for
        asked = 0.0
        while True:
            watch()
            if time.monotonic() - asked > _ASK:
                asked = time.monotonic()
                state = self._state(control, run_id)
                if state.startswith("finished"):
                    if state != "finished:completed":
                        self._fail(f"the campaign ended as {state}", self._account(str(run_id)))
                    return
            if self._child is None or self._child.returncode is not None:
                self._fail("Flower's SuperLink ended")
            time.sleep(_POLL)

    def _state(self, control: "ControlHttpClient", run_id: int) -> str:
        # over the connection that is open: each `flwr ls` is a process that computes for two seconds
        from flwr.proto.control_pb2 import ListRunsRequest

        try:
            status = control.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status
        except httpx.HTTPError as exc:
            self._fail(f"Flower's SuperLink does not say how the campaign is: {exc}")
        return f"{status.status}:{status.sub_status}".rstrip(":")

    def _account(self, run_id: str) -> str:
        # SuperLink's own log holds its requests; what the engine and the ServerApp wrote is asked for
        try:
            lines = run_json([script("flwr"), "log", run_id, "sim", "--show"], env=self._cli_env, cwd=self._empty)
        except (Unavailable, TimeoutExpired) as exc:
            return f"its account could not be read: {exc}"
        return "Flower's account of it ends:\n" + "\n".join(lines.splitlines()[-40:])

    def _fail(self, why: str, account: str = "") -> NoReturn:
        tail = self._child.tail(30) if self._child else ""
        raise Unavailable("SIMULATION_FAILED", why, account or f"its log {self._log} ends:\n{tail}")

    def stop(self) -> None:
        """End Flower and the Ray that it started."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._ray is not None:
            self._ray.close()
            self._ray = None


def _control(port: int) -> "ControlHttpClient":
    """Flower's control of our own SuperLink, as its command line has it."""
    check_version("simulations", "site")
    from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    said: list[Any] = [CliClientHttpInterceptor(), RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
    return ControlHttpClient.from_server_address(f"127.0.0.1:{port}", True, None, said)
