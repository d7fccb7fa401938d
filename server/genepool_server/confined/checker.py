"""Checks 14 to 16 in a child: numpy and our own readers, no framework of tensors."""

from pathlib import Path
from typing import Any, Final

from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.learngene.manifest import parse_manifest
from genepool_server.admission import content
from genepool_server.admission.architecture import Fitting
from genepool_server.admission.content import Sound
from genepool_server.confined.worker import Bounds, ChildWorker
from genepool_server.records import LoadedBlueprint

BOUNDS: Final = Bounds(memory_bytes=1 << 30, cpu_seconds=20, wall_seconds=30.0)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The child's part: everything is parsed again from what was signed.

    Raises:
        InvalidInput: as `content.check`.
    """
    loaded = LoadedBlueprint(parse_blueprint(request["blueprint"].encode()), Path(request["seed"]))
    content.inspect(parse_manifest(request["manifest"].encode()), loaded, Path(request["path"]))
    return {}


class Checker:
    """The server's part, in the place of `content.check`."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.worker = ChildWorker("check", bounds)

    def __call__(self, fitting: Fitting, path: Path) -> Sound:
        """As `content.check`, in a child.

        Raises:
            InvalidInput: as `content.check`; CHECK_LIMIT.
            Unavailable: SERVING_UNAVAILABLE.
        """
        self.worker.call(
            {
                "manifest": fitting.claim.raw.decode(),
                "blueprint": fitting.blueprint.blueprint.canonical().decode(),
                "seed": str(fitting.blueprint.seed_path.absolute()),
                "path": str(path.absolute()),
            }
        )
        return Sound(fitting.claim, fitting.blueprint, path)

    def close(self) -> None:
        """End the child."""
        self.worker.close()
