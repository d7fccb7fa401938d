"""Between the messages of consume.proto and plain values; those of sites and operators are in `messages`."""

from collections.abc import Mapping, Sequence

import numpy as np

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.selection import tals
from genepool_protocol.selection.support import Pixels
from genepool_protocol.v1 import consume_pb2, types_pb2
from genepool_protocol.wire.errors import InvalidInput
from genepool_server.records import Contribution


def pixels_of(blueprint: Blueprint, raw: bytes) -> Pixels:
    """The images of a request, a view of its bytes of shape (N, image, image, 3).

    Raises:
        InvalidInput: SUPPORT_MALFORMED, they are not a whole number of images.
    """
    image_bytes = 3 * blueprint.image**2
    if not raw or len(raw) % image_bytes:
        raise InvalidInput(
            "SUPPORT_MALFORMED",
            f"{len(raw)} bytes of pixels are not a whole number of images of {image_bytes} bytes",
            f"send uint8 RGB of {blueprint.image} x {blueprint.image} pixels, image after image",
        )
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, blueprint.image, blueprint.image, 3)


def weights_of(weights: Sequence[types_pb2.Weight]) -> tuple[tuple[str, int], ...]:
    """(contribution id, weight in thousandths) pairs, as they came."""
    return tuple((weight.contribution_id, weight.milli) for weight in weights)


def budget_of(budget: types_pb2.SizeBudget) -> Budget:
    """The size or budget.

    Raises:
        InvalidInput: OPTION_INVALID, none of the three is given.
    """
    match budget.WhichOneof("budget"):
        case "size":
            return Budget(size=Size(budget.size.depth, budget.size.heads))
        case "max_params":
            return Budget(max_params=budget.max_params)
        case "max_bytes":
            return Budget(max_bytes=budget.max_bytes)
        case _:
            return Budget()


def entry(contribution: Contribution) -> types_pb2.Entry:
    """A contribution as consumers see it."""
    return types_pb2.Entry(
        contribution_id=contribution.contribution_id,
        site=contribution.site,
        license=contribution.license,
        sha256=contribution.sha256,
        size_bytes=contribution.size_bytes,
        log_index=contribution.log_index,
        image_count=contribution.images,
    )


def embedding_message(contribution: Contribution, embedding: Embedding) -> consume_pb2.ListKeysResponse:
    """A contribution with its domain embedding."""
    mean = np.ascontiguousarray(embedding.mean, dtype="<f4").tobytes()
    return consume_pb2.ListKeysResponse(entry=entry(contribution), key_mean=mean, key_noise=embedding.noise)


def progress_message(done: int, total: int, stage: str) -> consume_pb2.SelectResponse:
    """How far a selection is."""
    return consume_pb2.SelectResponse(progress=consume_pb2.SelectProgress(stage=stage, done=done, total=total))


def selection_message(
    selection: tals.TalsSelection, contributions: Mapping[str, Contribution]
) -> consume_pb2.SelectResponse:
    """The answer of TALS; `shortlisted` says that stage B scored the candidate.

    Args:
        selection: the answer.
        contributions: the candidates by id.
    """
    return consume_pb2.SelectResponse(
        selection=consume_pb2.Selection(
            choice=selection.choice,
            weights=[types_pb2.Weight(contribution_id=name, milli=milli) for name, milli in selection.weights],
            candidates=[
                _candidate(candidate, contributions[candidate.contribution_id]) for candidate in selection.candidates
            ],
            reason=selection.reason,
            kernel=selection.kernel,
            snapshot=selection.snapshot,
        )
    )


def _candidate(candidate: tals.TalsCandidate, contribution: Contribution) -> consume_pb2.Candidate:
    message = consume_pb2.Candidate(
        entry=entry(contribution), key_distance=candidate.embedding_distance, place=candidate.place
    )
    if candidate.score is not None:
        message.knn, message.lda, message.logme = candidate.score.knn, candidate.score.lda, candidate.score.logme
        message.shortlisted = True
    return message
