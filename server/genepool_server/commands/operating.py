"""Operating a pool, whether its server runs or not: through the operator's socket, or by opening the pool here.

Either way there is one writer, and the same code decides.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from genepool_protocol.machine import operator_door
from genepool_protocol.wire.errors import InvalidInput, NotFound, Unavailable
from genepool_server import config
from genepool_server.commands.remote_operator import RemoteOperator
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.records import Contribution

_ID: Final = re.compile(r"[0-9a-f]{1,64}")
_PATIENCE: Final = 5.0  # seconds that another command may have the folder open


Operator: TypeAlias = OpenPool | RemoteOperator
"""What a pool is operated by: both have the same parts, with the same methods."""


@contextmanager
def operate(folder: Path) -> Iterator[Operator]:
    """The operator's hand on the pool in a folder.

    Raises:
        NotFound: POOL_UNKNOWN.
        Unavailable: FOLDER_IN_USE, another process has had it open for seconds.
        GenepoolError: what `OpenPool.open` raises, or what went wrong on the socket.
    """
    config.load(folder)
    deadline = time.monotonic() + _PATIENCE
    while True:
        path = operator_door.running(folder)
        try:
            entered: Operator = RemoteOperator(path, folder) if path else opened(folder)
        except Unavailable as exc:
            # another command is at work, or a server is about to open its socket
            if exc.reason != "FOLDER_IN_USE" or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        with entered as operator:
            yield operator
        return


def opened(folder: Path) -> OpenPool:
    """The pool in a folder, by its settings, with the keys and witnesses that its trust root names.

    Raises:
        NotFound: POOL_UNKNOWN.
        GenepoolError: as `settling.settle` and `OpenPool.open`.
    """
    from genepool_server.root import settling  # TUF's modules take time to load

    settings = config.load(folder)
    witnesses = settling.settle(PoolFolder(folder)).policy
    return OpenPool.open(folder, settings.storage, automatic=settings.reviews.at_once, witnesses=witnesses)


def resolve(operator: Operator, prefix: str) -> Contribution:
    """The one contribution whose id starts so.

    Raises:
        NotFound: CONTRIBUTION_UNKNOWN.
        InvalidInput: OPTION_INVALID, several do.
    """
    whole = _ID.fullmatch(prefix.lower())
    matches = list(operator.contributions.each(prefix.lower())) if whole else []
    if not matches:
        raise NotFound(
            "CONTRIBUTION_UNKNOWN",
            f"the pool holds no contribution {prefix[:64]!r}",
            "list them with genepool-server contributions",
        )
    if len(matches) > 1:
        raise InvalidInput(
            "OPTION_INVALID", f"{len(matches)} contributions start with {prefix!r}", "give more characters of the id"
        )
    return matches[0]
