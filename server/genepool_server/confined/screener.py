"""Screens and canary in a child, with torch, on the pool's own verified copies."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from genepool_protocol.learngene.blueprint import parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_server.admission import embeddings
from genepool_server.admission.company import Company
from genepool_server.admission.copies import Near, Sketch
from genepool_server.admission.embeddings import StatedEmbedding
from genepool_server.admission.screening import ActiveMember, Looked, Reviewer, judged
from genepool_server.admission.screens import Finding
from genepool_server.confined.worker import Bounds, ChildWorker
from genepool_server.records import Contribution, LoadedBlueprint

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
        _reviewers[request["blueprint"]] = Reviewer(blueprint, Path(request["seed"]), bytes.fromhex(request["salt"]))
    members = [
        ActiveMember(name, sha256, Path(path), own, site, index)
        for name, sha256, path, own, site, index in request["members"]
    ]
    looked = _reviewers[request["blueprint"]].look(Path(request["path"]), members)
    copies = embeddings.copies(_embedding(request["mine"]), [_embedding(row) for row in request["embeddings"]])
    return {
        "findings": [[finding.screen, finding.message] for finding in (*looked.findings, *copies)],
        "near": [[near.contribution_id, near.own, near.index, near.plain, near.disguised] for near in looked.near],
        "sketch": [looked.sketch.direction.tolist(), looked.sketch.products.tolist()],
    }


def _embedding(row: tuple[str, str, str, float]) -> StatedEmbedding:
    name, site, path, sigma = row
    return StatedEmbedding(name, site, TensorFile(Path(path)).array("key.mean").astype(np.float32), sigma)


def _row(found: Contribution) -> tuple[str, str, str, float]:
    return found.contribution_id, found.site, str(found.path.absolute()), embeddings.sigma_of(found.manifest)


class Screener:
    """The server's part."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.worker = ChildWorker("review", bounds)

    def __call__(self, loaded: LoadedBlueprint, found: Contribution, company: Company) -> list[Finding]:
        """What screens and canary find in a contribution.

        Args:
            loaded: the blueprint.
            found: the contribution.
            company: who judges it, and what it is compared with.

        Raises:
            InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED, weights were withdrawn meanwhile; CHECK_LIMIT.
            Unavailable: SERVING_UNAVAILABLE.
        """
        response = self.worker.call(
            {
                "blueprint": loaded.blueprint.canonical().decode(),
                "seed": str(loaded.seed_path.absolute()),
                "salt": company.salt.hex(),
                "path": str(found.path.absolute()),
                "members": [
                    [
                        member.contribution_id,
                        member.sha256,
                        str(member.path.absolute()),
                        member.site == found.site,
                        member.site,
                        member.log_index,
                    ]
                    for member in company.active
                ],
                "mine": _row(found),
                "embeddings": [_row(entry) for entry in company.active if entry.site != found.site],
            }
        )
        # sketches of what was withdrawn stay here: who reads hostile weights need not have them
        findings = [Finding(screen, message) for screen, message in response["findings"]]
        sketch = Sketch(*(np.array(part, np.float64) for part in response["sketch"]))
        return judged(Looked(findings, [Near(*member) for member in response["near"]], sketch), company.withdrawn)

    def close(self) -> None:
        """End the child."""
        self.worker.close()
