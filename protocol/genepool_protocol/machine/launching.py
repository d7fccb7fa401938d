"""How every process of ours, and every Ray and Flower, is started: quiet, closed to others, without core dumps.

All launchers take their environment from here, so that none can forget a switch. Ray runs whatever code reaches one of
its ports, so its ports are bound to loopback, each start has a secret of its own, and its files lie in a private
folder. What the user's shell says about Ray and Flower is not passed on: an address in it would make us join a
stranger's cluster.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from genepool_protocol.machine.private_folder import OwnedFolder
from genepool_protocol.wire.errors import InvalidInput

QUIET: Final[dict[str, str]] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # its fork handlers abort what Ray forks beside a thread that speaks gRPC (tests/integration/flower shows it)
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # its core writes lines of its own to standard error, past every log: "Got goaway [2] err=UNAVAILABLE"
    "GRPC_VERBOSITY": "NONE",
}
"""No telemetry, no update checks, no downloads, no lines of gRPC's."""

_CLOSED: Final[dict[str, str]] = {
    "RAY_AUTH_MODE": "token",
    # Ray's own name for "a cluster of one machine": all of its ports are bound to loopback
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it counts the page cache, where the learngenes are, as ours
    "OMP_NUM_THREADS": "1",  # torch.set_num_threads counts for one thread only, and an actor has several
    "OMP_WAIT_POLICY": "PASSIVE",
}

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_FOREIGN: Final = ("RAY_", "FLWR_")
"""Beginnings of names that belong to whoever starts Ray and Flower, and here that is us."""

RAY_PREFIX: Final = "gp-ray-"
"""How Ray's private folders are named; short, because Ray puts sockets below them."""

UMASK: Final = 0o077
"""What the processes of Flower and Ray write, nobody else may read."""

_SOCKET_PATH: Final = 107 if sys.platform.startswith("linux") else 103  # bytes of the longest path of a socket
_BELOW: Final = len("/gp-ray-12345678/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")

RAY_PARENT: Final = _SOCKET_PATH - _BELOW
"""Bytes that the path of the folder above a Ray's private folder may have."""

_M_PERTURB: Final = -6
_OVERWRITE: Final = 0xFF
_PR_SET_PDEATHSIG: Final = 1


def be_quiet() -> None:
    """Set the switches for this process and its children; call it before ray, grpc, flwr or timm are imported.

    What is on this machine is kept from proxies, too.
    """
    os.environ.update(QUIET)
    spare_loopback()


def spare_loopback() -> None:
    """From now on no program that this process starts asks a proxy for what is on this machine."""
    names = [name for name in os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",") if name.strip()]
    if "*" in names:  # which holds only when it stands alone
        return
    spared = ",".join(dict.fromkeys([*names, *_LOOPBACK]))
    os.environ.update({"no_proxy": spared, "NO_PROXY": spared})


def quieten_grpc() -> None:
    """Keep gRPC's own lines from the terminal of somebody else's program, unless that asks for them."""
    os.environ.setdefault("GRPC_VERBOSITY", QUIET["GRPC_VERBOSITY"])


def environment(*more: Mapping[str, str]) -> dict[str, str]:
    """Our environment for a child: quiet, with `more`, and without what the shell says about Ray and Flower.

    Args:
        more: further variables; later ones win.
    """
    passed_on = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return passed_on | QUIET | {name: value for variables in more for name, value in variables.items()}


def ray_folder(parent: Path | None = None) -> OwnedFolder:
    """A private folder for one Ray: mode 0700, so that nobody reaches what Ray opens to all below it.

    Args:
        parent: where it goes; None: the system's temporary folder, or /tmp when that has too long a path.

    Raises:
        InvalidInput: CONFIG_INVALID, the parent's path is too long for the sockets that Ray makes below it.
    """
    if parent is None:
        usual, short = Path(tempfile.gettempdir()), Path("/tmp")  # noqa: S108 - the folder in it is private
        parent = short if len(os.fsencode(usual)) > RAY_PARENT and short.is_dir() else usual
    if len(os.fsencode(parent)) > RAY_PARENT:
        raise InvalidInput(
            "CONFIG_INVALID",
            f"the temporary folder {parent} has a path of more than {RAY_PARENT} bytes, too long for sockets",
            "choose a shorter one, for instance with TMPDIR",
        )
    return OwnedFolder(parent, RAY_PREFIX)


def ray_environment(folder: Path) -> dict[str, str]:
    """The variables of one Ray, with a token of its own; Ray's files go to `folder`/ray.

    Args:
        folder: a private one, of `ray_folder`; the token lies beside Ray's files, which Ray opens to everybody.
    """
    token = folder / "token"
    token.unlink(missing_ok=True)
    handle = os.open(token, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return {**_CLOSED, "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(folder)}


def no_core_dumps() -> None:
    """This process and its children never write their memory to a disk when they crash."""
    try:
        import resource
    except ImportError:  # there are no core files either
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_parent() -> None:
    """Let this process end with the one that started it, also when that is killed; only Linux can."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def overwrite_freed_memory() -> bool:
    """From now on the C library overwrites what this process frees; answers whether it can.

    Consumers' images pass through buffers of TLS, gRPC and protobuf that no code of ours holds. Blocks of up to 1032
    bytes are exempt: the C library keeps those for the next caller as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(AttributeError, OSError):  # musl has no mallopt
        return bool(ctypes.CDLL(None).mallopt(_M_PERTURB, _OVERWRITE))
    return False
