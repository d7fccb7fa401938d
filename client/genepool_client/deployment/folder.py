"""The folder of a deployment: everything of it lies below, and what runs is written down there.

up.json              what was laid out: networks, ports
processes/NAME.json  what was started, in order of its beginning; see `recorded`
pool/ sites/NAME/    the pool's folder and the sites'
data/                the sample pack, where no other images were given
logs/NAME.log        what each process writes
home/ cache/         what clients of it remember
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, ValidationError

from genepool_client.deployment.namespaces import SiteNetworks
from genepool_client.deployment.recorded import ProcessRecord
from genepool_client.transport.durable import write_json
from genepool_protocol.private_files import open_own, private_folder
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.documents import Document, first_problem
from genepool_protocol.wire.errors import InvalidInput, NotFound, Unavailable
from genepool_protocol.wire.limits import LIMITS

UP: Final = "up"
"""Under this name `genepool up` writes itself down while it is at work."""

_LAYOUT: Final = "up.json"
_D = TypeVar("_D", bound=Document)
_PARTS: Final = ("processes", "sites", "logs", "home", "cache")


class Layout(Document):
    """What a deployment was laid out as.

    Attributes:
        network: of its sites; None: they share the machine's.
    """

    schema_: Literal["genepool.deployment/v1"] = Field(default="genepool.deployment/v1", alias="schema")
    network: SiteNetworks | None = None


class DeploymentFolder:
    """A folder that `genepool up` has made, or may make.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.pool, self.sites, self.data = self.path / "pool", self.path / "sites", self.path / "data"
        self.logs, self.processes = self.path / "logs", self.path / "processes"
        self.home, self.cache = self.path / "home", self.path / "cache"
        self.report = self.path / "campaign.json"

    def make(self) -> None:
        """Make it, in an empty place or where it is already.

        Raises:
            InvalidInput: PATH_NOT_EMPTY, it holds something else.
        """
        fresh = not (self.path / _LAYOUT).exists()
        if self.path.exists() and fresh and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InvalidInput(
                "PATH_NOT_EMPTY", f"{self.path} holds something that genepool up has not made", "choose another DIR"
            )
        private_folder(self.path)
        if fresh:
            self.write(Layout())
        for name in _PARTS:
            private_folder(self.path / name)

    def write(self, layout: Layout) -> None:
        """Keep how it is laid out."""
        write_json(self.path / _LAYOUT, layout.model_dump(by_alias=True))

    def layout(self) -> Layout:
        """How it is laid out.

        Raises:
            NotFound: FILE_MISSING, it is no such folder.
            InvalidInput: FILE_MALFORMED.
        """
        path = self.path / _LAYOUT
        if not path.exists():
            raise NotFound("FILE_MISSING", f"{self.path} is no folder of genepool up", "give the DIR that it was given")
        return _read(Layout, path)

    def running(self) -> dict[str, ProcessRecord]:
        """What was started and not yet ended by `down`, by name, the newest last; some of it may have ended by itself.

        Raises:
            InvalidInput: FILE_MALFORMED.
        """
        paths = sorted(self.processes.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return {path.stem: _read(ProcessRecord, path) for path in paths}

    def forget(self, name: str) -> None:
        """A process has ended."""
        (self.processes / f"{name}.json").unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else starts or ends anything here while the block runs.

        Raises:
            Unavailable: FOLDER_IN_USE.
        """
        handle = open_own(self.path / "lock", os.O_RDWR)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise Unavailable(
                    "FOLDER_IN_USE",
                    f"genepool up or down is at work in {self.path}",
                    f"wait for it, or end it with genepool down {self.path}",
                ) from exc
            yield
        finally:
            os.close(handle)


def _read(kind: type[_D], path: Path) -> _D:
    raw = strict_json.loads(path.read_bytes(), max_bytes=LIMITS.bundle_bytes, what=str(path))
    try:
        return kind.model_validate(raw)
    except ValidationError as exc:
        raise InvalidInput(
            "FILE_MALFORMED", f"{path} is not what genepool up writes: {first_problem(exc)}", "put the old file back"
        ) from exc
