"""What a service manager is told: that a program is ready, alive, and going down; nothing, where none listens.

The protocol is systemd's: datagrams of `NAME=VALUE` lines to the socket that NOTIFY_SOCKET names.
See: the manual page sd_notify(3).
"""

import asyncio
import contextlib
import os
import socket
from typing import Final, Self

_PATIENCE: Final = 1.0  # seconds that the manager's queue may be full
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """Where to tell it. Nothing raises: a program does not end because its manager has.

    Attributes:
        beat: seconds between two signs of life, half of what the manager waits for one; 0: it waits for none.

    Args:
        address: path of the socket, or `@NAME` of an abstract one; empty for none.
        watchdog: seconds after which the manager takes a silent program for dead; 0: never.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.beat = watchdog / 2 if address else 0.0

    @classmethod
    def from_environment(cls) -> Self:
        """The manager that started this process; its variables are taken away, so that no child speaks in our name."""
        address, period, process = (
            os.environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        ours = process in ("", str(os.getpid())) and period.isascii() and period.isdigit()
        return cls(address, int(period) / _MICROSECONDS if ours else 0.0)

    def ready(self, status: str) -> None:
        """The program does what it is for from now on.

        Args:
            status: one line for people.
        """
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """A sign of life, if the manager waits for one; lost when its queue is full, since the next one is near."""
        if self.beat:
            self._tell("WATCHDOG=1", patience=0.0)

    def stopping(self) -> None:
        """The program has begun to go down."""
        self._tell("STOPPING=1\nSTATUS=going down")

    async def keep_alive(self) -> None:
        """Signs of life for as long as the event loop turns; ends by itself when nobody waits for any."""
        while self.beat:
            self.alive()
            await asyncio.sleep(self.beat)

    def _tell(self, text: str, patience: float = _PATIENCE) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.settimeout(patience)
            told.sendto(text.encode(), self._address)
