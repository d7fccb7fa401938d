"""Screens and canary in a child, with torch, on the pool's own verified copies."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_server.admission import embeddings
from genepool_server.admission.embeddings import Embedding
from genepool_server.admission.review import Member, Reviewer
from genepool_server.admission.screens import Finding
from genepool_server.confined.worker import Bounds, Worker
from genepool_server.pool.view import Contribution, LoadedBlueprint

BOUNDS: Final = Bounds(memory_bytes=8 << 30, cpu_seconds=900, wall_seconds=1800.0)
"""Generous: the first review after a start reads every member once, and torch reserves gigabytes of addresses."""

_reviewers: dict[str, Reviewer] = {}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The child's part.

    Raises:
        InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED, a file is gone or was overwritten.
    """
    if request["blueprint"] not in _reviewers:
        blueprint = parse_blueprint(request["blueprint"].encode())
        _reviewers[request["blueprint"]] = Reviewer(blueprint, Path(request["seed"]))
    members = [Member(name, sha256, Path(path), own) for name, sha256, path, own in request["members"]]
    found = _reviewers[request["blueprint"]].review(Path(request["path"]), members)
    found += embeddings.copies(_embedding(request["mine"]), [_embedding(one) for one in request["embeddings"]])
    return {"findings": [[one.screen, one.message] for one in found]}


def _embedding(row: tuple[str, str, str, float]) -> Embedding:
    name, site, path, sigma = row
    return Embedding(name, site, TensorFile(Path(path)).array("key.mean").astype(np.float32), sigma)


def _row(found: Contribution) -> tuple[str, str, str, float]:
    return found.contribution_id, found.site, str(found.path.absolute()), embeddings.sigma_of(found.manifest)


class Screener:
    """The server's part."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.worker = Worker("review", bounds)

    def __call__(self, loaded: LoadedBlueprint, found: Contribution, active: list[Contribution]) -> list[Finding]:
        """What screens and canary find in a contribution.

        Args:
            loaded: the blueprint.
            found: the contribution.
            active: every active one of the blueprint, in the order of their ids.

        Raises:
            InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED, weights were withdrawn meanwhile; CHECK_LIMIT.
            Unavailable: SERVING_UNAVAILABLE.
        """
        answer = self.worker.call(
            {
                "blueprint": loaded.blueprint.canonical().decode(),
                "seed": str(loaded.seed_path.absolute()),
                "path": str(found.path.absolute()),
                "members": [
                    [one.contribution_id, one.sha256, str(one.path.absolute()), one.site == found.site]
                    for one in active
                ],
                "mine": _row(found),
                "embeddings": [_row(one) for one in active if one.site != found.site],
            }
        )
        return [Finding(screen, message) for screen, message in answer["findings"]]

    def close(self) -> None:
        """End the child."""
        self.worker.close()
