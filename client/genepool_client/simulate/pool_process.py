"""A real pool server in its own process, operated over its own socket."""

from pathlib import Path

from genepool_client.simulate.pool_operator import PoolOperator
from genepool_protocol.machine.processes import Child, free_port, run_json, script

_READY = 120.0  # seconds; Ray alone takes five to fifteen


class PoolProcess:
    """`genepool-server` on loopback with a data folder of its own.

    Args:
        folder: the data folder, made by `genepool-server init` unless it exists.
        logs: where its log goes.
        blueprint: name of the blueprint.
    """

    def __init__(self, folder: Path, logs: Path, blueprint: str) -> None:
        self.folder, self._logs = folder, logs
        self._env = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if not folder.exists():
            self.command("init", str(folder), "--blueprint", blueprint, "--name", "pool.local/log")
        self._child: Child | None = None
        self.address = ""

    def start(self, *, entrance: bool = False) -> str:
        """Serve on free ports; returns HOST:PORT.

        Args:
            entrance: whether one port serves everything, so that one relay can stand for the network.
        """
        command = [script("genepool-server"), "serve", str(self.folder), "--listen", "127.0.0.1:0"]
        if entrance:
            command += ["--entrance", f"127.0.0.1:{free_port()}"]
        self._child = Child("the pool server", command, self._logs / "pool.log", env=self._env, cwd=self._logs)
        self._child.wait_for("serving ", _READY)
        self.address = (self.folder / "address").read_text().strip()
        return self.address

    def command(self, *arguments: str) -> str:
        """Standard output of an operator's command."""
        return run_json([script("genepool-server"), *arguments], env=self._env, cwd=self._logs)

    def operator(self) -> PoolOperator:
        """The operator of the running server; close it.

        Raises:
            Unavailable: POOL_UNREACHABLE, it does not run.
        """
        return PoolOperator(self.folder)

    def stop(self) -> None:
        """End the server and everything it started."""
        if self._child is not None:
            self._child.stop()
            self._child = None
