"""`genepool down`: ends what `genepool up` has started, by what was written down of it, whoever has died meanwhile."""

import time
from pathlib import Path
from typing import Final

from genepool_client.deployment import namespaces
from genepool_client.deployment.folder import UP, DeploymentFolder
from genepool_client.deployment.recorded import ProcessRecord
from genepool_protocol.machine.processes import end_sessions, terminate
from genepool_protocol.wire.errors import Unavailable

_POOL: Final = "pool"
_DRAIN: Final = 90.0  # seconds; the pool finishes its calls
_POLL: Final = 0.2  # seconds


def end(path: Path) -> list[str]:
    """End everything of a deployment, also what `up` is starting at this moment; its files stay.

    Returns:
        The names of what ran.

    Raises:
        NotFound: FILE_MISSING, it is no folder of `up`.
        Unavailable: FOLDER_IN_USE, `up` or another `down` does not end.
    """
    folder = DeploymentFolder(path)
    folder.layout()
    _interrupt(folder)
    with folder.alone():
        return end_all(folder)


def end_all(folder: DeploymentFolder) -> list[str]:
    """The same for who is alone in the folder. The pool is ended last, so that a campaign can close its record."""
    records = {name: record for name, record in folder.running().items() if name != UP}
    alive = [name for name, record in records.items() if record.alive]
    for group in ([name for name in records if name != _POOL], [name for name in records if name == _POOL]):
        end_sessions([(records[name].pid, records[name].began) for name in group], _DRAIN)
        for name in group:
            folder.forget(name)
    network = folder.layout().network
    if network is not None:
        namespaces.take_away(network)
    return alive


def _interrupt(folder: DeploymentFolder) -> None:
    """End an `up` that is at work; it then ends what it has started."""
    record: ProcessRecord | None = folder.running().get(UP)
    if record is None:
        return
    terminate(record.pid, record.began)
    deadline = time.monotonic() + 2 * _DRAIN
    while record.alive:
        if time.monotonic() > deadline:
            raise Unavailable("FOLDER_IN_USE", f"genepool up, process {record.pid}, does not end", "kill it")
        time.sleep(_POLL)
    folder.forget(UP)
