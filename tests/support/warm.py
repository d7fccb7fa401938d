"""Commands in processes of their own that begin where the imports end: forked from a process that has done them once.

`python -m tests.support.warm SOCKET MODULE...` is that process; it has one thread and starts nothing by itself.
"""

import atexit
import functools
import gc
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genepool_protocol.machine.launching import end_with_parent

_LONGEST = 1 << 17  # bytes of an order: a command line and an environment

SERVER = ("genepool_server.commands.cli", "genepool_server.app", "genepool_server.commands.operating")
"""The modules of `genepool-server`, that of its `main` first."""


class Warm:
    """Runs `main` of the first module, after the imports of all of them.

    Args:
        name: of the program, as it calls itself.
        modules: what is imported once.
    """

    def __init__(self, name: str, modules: Sequence[str]) -> None:
        self._name, self._module = name, modules[0]
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.support.warm", str(theirs.fileno()), *modules]
            root = Path(__file__).parents[2]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=root)
        atexit.register(self.close)

    def run(
        self, arguments: Sequence[str], cwd: Path | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """The program with these arguments, ended; it sees this process's environment as it is now.

        Raises:
            TimeoutError: it did not end in that time.
        """
        order = {"module": self._module, "argv": [self._name, *arguments]}
        order |= {"cwd": str(cwd or Path.cwd()), "environment": dict(os.environ)}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            self._socket.settimeout(seconds)
            socket.send_fds(self._socket, [json.dumps(order).encode()], [out.fileno(), err.fileno()])
            try:
                code = int(self._socket.recv(99))
            except TimeoutError:
                self._process.kill()  # and with it what it runs
                raise
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(order["argv"], code, out.read().decode(), err.read().decode())

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(60)


@functools.cache
def server() -> Warm:
    """Of `genepool-server`; one for all tests of a process."""
    return Warm("genepool-server", SERVER)


def _become(order: dict[str, Any], out: int, err: int) -> None:
    """Be the program."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, place)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = order["argv"]
    sys.exit(importlib.import_module(order["module"]).main())


def main(number: str, *modules: str) -> None:
    """Fork for every order until there is nobody who orders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the tests closes the socket
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with socket.socket(fileno=int(number)) as orders:
        while True:
            text, files, *_ = socket.recv_fds(orders, _LONGEST, 2)
            if not text:
                return
            program = context.Process(target=_become, args=(json.loads(text), *files))
            program.start()
            for file in files:
                os.close(file)
            program.join()
            orders.send(str(program.exitcode).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
