"""The operator's door to a running server: a Unix socket in a private folder, named in `operator.json`.

Who may enter the folder may operate; the network never sees it.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc.aio

from genepool_protocol.machine.operator_door import ADVERT
from genepool_protocol.machine.private_folder import OwnedFolder
from genepool_protocol.v1 import operator_pb2_grpc, pool_pb2_grpc
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_server import durable
from genepool_server.front.guards.access import AccessInterceptor
from genepool_server.front.guards.callers import operators
from genepool_server.front.guards.calls import Call
from genepool_server.front.guards.forms import FormInterceptor
from genepool_server.front.guards.interceptor import ErrorInterceptor
from genepool_server.front.guards.watching import WatchInterceptor
from genepool_server.front.services.log_service import LogServicer
from genepool_server.front.services.operator_service import OperatorServicer
from genepool_server.pool.pool import OpenPool
from genepool_server.tls.identity import utc_now

PREFIX: Final = "gp-op-"
"""How the private folders are named."""

_MAX_PARENT: Final = 80
"""Characters of the folder's parent: a socket's path has at most 107."""
_GRACE: Final = 1.0  # seconds for an operator's call that runs while the server ends


class OperatorSocket:
    """Serves OperatorService and LogService to this machine's operator. For one event loop.

    Args:
        folder: of the pool; `operator.json` is written there.
        parent: where the private folder goes; a short path.
        pool: what is operated.
        stall_seconds: an operator that takes no answer for so long is cut off.
        ended: hears of each call when it is over.
        link: makes log-in links for the dashboard.

    Raises:
        InvalidInput: CONFIG_INVALID, the parent's path is too long.
    """

    def __init__(
        self,
        folder: Path,
        parent: Path,
        pool: OpenPool,
        stall_seconds: float,
        ended: Callable[[Call], None],
        link: Callable[[], tuple[str, int]],
    ) -> None:
        if len(str(parent)) > _MAX_PARENT:
            raise InvalidInput(
                "CONFIG_INVALID",
                f"the temporary folder {parent} has a path of more than {_MAX_PARENT} characters, too long for sockets",
                "set serving.temp_dir or TMPDIR to a shorter one",
            )
        self._advert = folder / ADVERT
        self._private = OwnedFolder(parent, PREFIX)
        self._server = grpc.aio.server(
            interceptors=[
                WatchInterceptor(ended),
                ErrorInterceptor(stall_seconds, deadlines=False),
                AccessInterceptor(operators),
                FormInterceptor(),
            ],
            options=[("grpc.max_receive_message_length", LIMITS.message_bytes)],
        )
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(OperatorServicer(pool, utc_now, link), self._server)
        pool_pb2_grpc.add_LogServiceServicer_to_server(LogServicer(pool.log, pool.heads), self._server)

    async def start(self) -> None:
        """Listen, and tell where.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        path = self._private.path / "socket"
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()
        durable.write(self._advert, json.dumps({"socket": str(path), "pid": os.getpid()}).encode() + b"\n")

    async def stop(self) -> None:
        """Take the advertisement away, end, and delete the private folder."""
        self._advert.unlink(missing_ok=True)
        await self._server.stop(_GRACE)
        self._private.close()
