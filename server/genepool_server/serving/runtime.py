"""Starting and stopping Ray: local, quiet, with a private folder and a token of its own.

Ray listens on every interface and whoever reaches a port can run code, so each start has a secret token; a firewall
or a network namespace belongs around it all the same (deploy/).
"""

import contextlib
import logging
import os
import secrets
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.owned import OwnedFolder

_log = logging.getLogger(__name__)

PREFIX: Final = "gp-ray-"
"""How Ray's private folders are named; short, because Ray puts sockets below them."""

_MAX_PARENT: Final = 40
"""Characters of the folder's parent: a socket's path has at most 107."""

_SWITCHES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # how long agents outlive a server that was killed
    "RAY_worker_niceness": "0",  # selecting and building is what this machine is for
    "RAY_memory_monitor_refresh_ms": "0",  # it counts the page cache, where the learngenes are, as ours
    "OMP_NUM_THREADS": "1",  # torch.set_num_threads counts for one thread only, and an actor has several
    "OMP_WAIT_POLICY": "PASSIVE",
}

_PATIENCE: Final = 5.0  # seconds that Ray's processes get to end by themselves

_TOKEN: Final = secrets.token_hex(32)
"""One per process: Ray reads it once."""


class Runtime:
    """A running local Ray, owned by one thread for its whole life.

    Ray's processes die with the thread that started them, and only a thread that is not the main one leaves the
    program's SIGTERM handler alone.

    Raises:
        InvalidInput: CONFIG_INVALID, the temporary folder's path is too long.
        Unavailable: SERVING_UNAVAILABLE, Ray did not start twice in a row.
    """

    def __init__(self, config: ServingConfig) -> None:
        parent = config.temp_dir or Path(tempfile.gettempdir())
        if len(str(parent)) > _MAX_PARENT:
            raise InvalidInput(
                "CONFIG_INVALID",
                f"the temporary folder {parent} has a path of more than {_MAX_PARENT} characters, too long for sockets",
                "choose a shorter one, for instance with TMPDIR",
            )
        self._config = config
        self._stop = threading.Event()
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._folder = OwnedFolder(parent, PREFIX)
        self._thread = threading.Thread(target=self._own, name="ray-owner", daemon=True)
        self._thread.start()
        self._up.wait()
        self._check()

    @property
    def folder(self) -> Path:
        """The private folder, deleted at close."""
        return self._folder.path

    def close(self) -> None:
        """End Ray's processes and delete the folder; a second call does nothing."""
        self._stop.set()
        self._thread.join()
        self._folder.close()

    def _check(self) -> None:
        failure = self._failure
        if failure is None:
            return
        self.close()
        if isinstance(failure, GenepoolError):
            raise failure
        raise Unavailable(
            "SERVING_UNAVAILABLE",
            f"Ray did not start ({type(failure).__name__})",
            "free memory and shared memory, and start again",
        ) from failure

    def _own(self) -> None:
        try:
            self._start()
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            self._failure = exc
            self._up.set()
            return
        self._up.set()
        self._stop.wait()
        _shutdown()

    def _start(self) -> None:
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(_TOKEN)
        os.environ.update(_SWITCHES, RAY_AUTH_TOKEN_PATH=str(token))
        try:
            _init(self._config, self.folder)
        except GenepoolError:
            raise
        except Exception:  # noqa: BLE001 - a starved machine misses Ray's own time limits once in a while
            _log.warning("Ray did not start at the first attempt", exc_info=True)
            _shutdown()
            _init(self._config, self.folder)


def _init(config: ServingConfig, folder: Path) -> None:
    import ray

    with _quiet():
        if ray.is_initialized():
            raise Unavailable("SERVING_UNAVAILABLE", "this process runs Ray already", "serve from a process of its own")
        # Ray prints what it thinks of dead workers to stdout, which belongs to the command line
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001
        ray.init(
            address="local",  # never join a cluster that happens to run on this machine
            num_cpus=0,  # no idle workers are started ahead: ours ask for no CPU
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=config.object_store_bytes,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=str(folder),
            _system_config={"automatic_object_spilling_enabled": False},  # pixels never reach a disk
        )


def _shutdown() -> None:
    import ray

    with _quiet():
        node: Any = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001
        started = _processes(node)
        ray.shutdown()
        if node is not None:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        _wait_for_the_end(started)


def _processes(node: Any) -> list[Any]:
    """What Ray started, workers too: they notice the end of their parent only a while after it."""
    import psutil  # Ray brings it

    found = []
    for info in (info for infos in (node.all_processes.values() if node is not None else ()) for info in infos):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(info.process.pid)
            found += [process, *process.children(recursive=True)]
    return found


def _wait_for_the_end(processes: list[Any]) -> None:
    import psutil

    def lives(process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + _PATIENCE
    while any(map(lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in filter(lives, processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray's warnings about its own files and processes; ours are not touched."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"ray\.")
        try:
            yield
        finally:
            logger.setLevel(level)
