"""Where the operator of a running server finds its Unix socket: `operator.json` in the pool's folder says it.

Who may enter the folder may operate; the network never sees it.
"""

import json
import socket
from pathlib import Path
from typing import Final

ADVERT: Final = "operator.json"
"""Its file; members `socket` (a path) and `pid`."""


def running(folder: Path) -> Path | None:
    """The operator's socket of the server that serves this folder; None when none does, also after it was killed."""
    try:
        path = Path(json.loads((folder / ADVERT).read_bytes())["socket"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no server, or the advertisement of one that died
    return path
