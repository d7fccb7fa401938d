"""Child processes that do not outlive us: each in its own session, logged to a file, stopped with all its children."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from genepool_protocol.machine import lifeline
from genepool_protocol.machine.launching import UMASK, environment
from genepool_protocol.wire.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import psutil

_GRACE = 20.0  # seconds between asking and killing


def script(name: str) -> str:
    """The console script that was installed with the Python that runs us.

    Raises:
        InvalidInput: DEPENDENCY_MISSING.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise InvalidInput("DEPENDENCY_MISSING", f"the command {name} is not installed", "pip install 'genepool[all]'")
    return str(path)


def free_port() -> int:
    """A port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process with its children, its output in a log file; what it writes, nobody else may read.

    Args:
        name: for sentences.
        command: program and arguments.
        log: file that takes stdout and stderr.
        env: added to our environment, of which it gets what `launching.environment` passes on.
        cwd: working folder.
        reason: of the error when it does not start: what it is a part of.
        outlives: whether it goes on when we end; else it never does, also when we are killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str],
        cwd: Path,
        reason: str = "SIMULATION_FAILED",
        outlives: bool = False,
    ) -> None:
        self.name, self.log, self._reason = name, log, reason
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as sink:
            self._begins = sink.tell()
            self._process = subprocess.Popen(
                command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(env),
                cwd=cwd,
                umask=UMASK,
                start_new_session=True,  # so that the whole group can be stopped, and a Ctrl-C reaches us alone
            )
        if not outlives:
            lifeline.hold(self._process.pid, beginning(self._process.pid))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_for(self, text: str, seconds: float) -> str:
        """The first line that this process wrote into its log and that contains `text`.

        Raises:
            Unavailable: of its reason, it ended before, or took too long.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            content = self.log.read_bytes()[self._begins :].decode(errors="replace")
            for line in content.splitlines():
                if text in line:
                    return line
            if self.returncode is not None:
                break
            time.sleep(0.1)
        raise Unavailable(self._reason, f"{self.name} did not start", f"its log {self.log} ends:\n{self.tail()}")

    def wait(self, seconds: float) -> int | None:
        """Exit code, or None after that time."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Ask it to end, wait, then kill its whole group and all descendants; returns when nothing of it is left."""
        import psutil

        # now: who loses a parent is nobody's child, and some lead own sessions
        family = _descendants(self._process.pid)
        if self.returncode is None:
            self._process.terminate()
            self.wait(_GRACE)
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self._group_alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        for process in [*family, *(inner for member in family for inner in _descendants(member.pid))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # psutil compares start times: a reused number is not hit

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _group_alive(self) -> bool:
        self._process.poll()
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _descendants(pid: int) -> "list[psutil.Process]":
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def run_json(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    seconds: float = 120.0,
    reason: str = "SIMULATION_FAILED",
) -> str:
    """Standard output of a short command.

    Raises:
        Unavailable: of that reason, with what it wrote on stderr.
    """
    completed = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment(env),
        cwd=cwd,
        umask=UMASK,
        timeout=seconds,
        check=False,
    )
    if completed.returncode:
        raise Unavailable(
            reason,
            f"{Path(command[0]).name} {command[1]} ended with {completed.returncode}",
            completed.stderr.strip()[-2000:],
        )
    return completed.stdout


def beginning(pid: int) -> str:
    """When a process of this machine began: with its number, that names it for ever. Empty when there is none.

    Args:
        pid: its number; a process that has ended and was not waited for is none.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        kernel = Path(f"/proc/{pid}/stat")  # ticks since the boot, which no change of the clock moves
        return kernel.read_text().rpartition(")")[2].split()[19] if kernel.exists() else str(process.create_time())
    except (psutil.NoSuchProcess, OSError):
        return ""


def terminate(pid: int, began: str) -> bool:
    """Ask a process to end, if it is the one that began then; answers whether it was asked.

    Args:
        pid: its number.
        began: its `beginning`.
    """
    try:
        # the handle is of one process: after it was opened, a number that is given anew cannot mislead
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        return False
    try:
        if not began or beginning(pid) != began:
            return False
        if handle >= 0:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


def end_sessions(leaders: Collection[tuple[int, str]], seconds: float) -> None:
    """End processes that lead sessions of their own, with all that they started: asked first, then killed.

    Args:
        leaders: number and `beginning` of each, whoever started it; what has ended by itself may have left others.
        seconds: that they have to end.
    """
    import psutil

    family = [member for pid, began in leaders if beginning(pid) == began for member in _descendants(pid)]
    for pid, began in leaders:
        terminate(pid, began)
    deadline = time.monotonic() + seconds
    while any(began and beginning(pid) == began for pid, began in leaders) and time.monotonic() < deadline:
        time.sleep(0.1)
    sessions = {pid for pid, began in leaders if beginning(pid) in ("", began)}  # else the number is another's by now
    family += [process for process in psutil.process_iter() if _session(process.pid) in sessions]
    for process in [*family, *(inner for member in family for inner in _descendants(member.pid))]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil compares start times: a reused number is not hit
    psutil.wait_procs(family, timeout=_GRACE)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1
