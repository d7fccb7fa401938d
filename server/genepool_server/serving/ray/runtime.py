"""Starting and stopping Ray in the process that holds it: local, quiet, bound to loopback, with files of its own."""

import contextlib
import os
import time
import warnings
from pathlib import Path
from typing import Any, Final

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.serving.config import ServingConfig

_VITAL: Final = ("gcs_server", "raylet")
"""Processes of Ray without which nothing else of it works."""

_POLL: Final = 0.1  # seconds


def start(config: ServingConfig, folder: Path) -> None:
    """Start Ray; a starved machine misses Ray's own time limits once in a while, so it is tried twice.

    Args:
        config: sizes.
        folder: for Ray's files.
    """
    try:
        _init(config, folder)
    except GenepoolError:
        raise
    except Exception:  # noqa: BLE001 - whatever it was, the second attempt's failure is the one that counts
        stop()
        _init(config, folder)


def _init(config: ServingConfig, folder: Path) -> None:
    import ray

    warnings.simplefilter("ignore")  # Ray's about its own files and processes
    ray.init(
        address="local",  # never join a cluster that happens to run on this machine
        num_cpus=0,  # no idle workers are started ahead: ours ask for no CPU
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=config.object_store_bytes,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=str(folder),
        _system_config={"automatic_object_spilling_enabled": False},
    )


def stop() -> None:
    """End Ray's processes; those that do not end by themselves are killed with this process's group."""
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()


def wait_for_its_death() -> None:
    """Block until a process of Ray that it cannot do without has ended.

    Ray's own library ends its process 20 seconds after the one, and waits for ever for the other.
    """
    import ray

    node: Any = ray._private.worker._global_node  # noqa: SLF001 - Ray offers no other way to know its processes
    vital = [info.process.pid for name in _VITAL for info in node.all_processes.get(name, ())]
    while all(map(_lives, vital)):
        time.sleep(_POLL)


def _lives(pid: int) -> bool:
    """Whether our child runs; it is not reaped, since that is Ray's business."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
