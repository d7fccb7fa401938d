"""What ends a launcher's children when it is killed, so that nobody is left to end them.

`hold` names a child to a keeper: a process of its own that reads from a pipe. The pipe ends with the launcher, however
that ends, and then the keeper ends what is still there. It knows a process by its number and its beginning, so it never
hits another one. It runs as `python -m genepool_protocol.machine.lifeline`.
"""

import atexit
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Final, cast

from genepool_protocol.machine.launching import environment

_GRACE: Final = 10.0
"""Seconds between asking all children to end and killing what is left of them."""

_lock: Final = threading.Lock()
_keepers: Final[dict[int, "subprocess.Popen[str]"]] = {}
"""The keeper of each process that launched: a fork's is not its parent's."""


def hold(pid: int, began: str) -> None:
    """From now on this child does not outlive us.

    Args:
        pid: its number; it leads a session of its own.
        began: `processes.beginning` of it; empty when it has ended already.
    """
    if not began:
        return
    with _lock:
        keeper = _keepers.get(os.getpid())
        if keeper is None or keeper.poll() is not None:
            keeper = _keepers[os.getpid()] = _start()
        pipe = cast("IO[str]", keeper.stdin)
        pipe.write(f"{pid} {began}\n")
        pipe.flush()


def end_with_launcher() -> None:
    """Let this process of `multiprocessing` end with the one that started it, also when that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)  # nobody takes an answer any more, and the main thread may compute for minutes


def _start() -> "subprocess.Popen[str]":
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
        cwd="/",
        start_new_session=True,  # a Ctrl-C is the launcher's business
    )
    atexit.register(_let_go, os.getpid())
    return keeper


def _let_go(launcher: int) -> None:
    """The launcher ends by itself: so does its keeper, once nothing is left to end."""
    keeper = _keepers.pop(launcher, None) if launcher == os.getpid() else None
    if keeper is not None:
        keeper.communicate()


def _keep(told: IO[str]) -> None:
    """Read who is to be ended until the launcher has gone, then end who is still there."""
    children = [line.split() for line in told]
    from genepool_protocol.machine.processes import end_sessions

    end_sessions([(int(pid), began) for pid, began in children], _GRACE)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it ends when its launcher does
    _keep(sys.stdin)
