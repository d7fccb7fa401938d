"""What a consumer asks to be built, checked against the pool: pure decisions on the read side's values."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from genepool_protocol.learngene.size import Budget
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.records import Contribution, LoadedBlueprint
from genepool_server.serving.descent import Order
from genepool_server.serving.library import Family, StoredFile
from genepool_server.serving.pool_view import PoolView


def family(loaded: LoadedBlueprint) -> Family:
    """The blueprint with the file of its seed."""
    seed = StoredFile.at(loaded.seed_path, loaded.blueprint.seed.sha256.removeprefix("sha256:"))
    return Family(loaded.blueprint, seed)


def file_of(contribution: Contribution) -> StoredFile:
    """The learngene file of a contribution."""
    return StoredFile.at(contribution.path, contribution.sha256)


def check_weights(weights: Sequence[tuple[str, int]]) -> None:
    """Refuse weights that are not sparse, sorted by contribution id without repetition, nonzero and bounded.

    Raises:
        InvalidInput: WEIGHTS_MALFORMED.
    """
    names = [name for name, _ in weights]
    if len(names) > LIMITS.members:
        raise _malformed(f"there are {len(names)} weights, at most {LIMITS.members} are allowed")
    if names != sorted(set(names)):
        raise _malformed("the weights are not sorted by contribution id, or name one twice")
    for name, milli in weights:
        if not 0 < abs(milli) <= LIMITS.weight_milli:
            raise _malformed(
                f"the weight of {name[:16]} is {milli} thousandths, it must be nonzero, at most {LIMITS.weight_milli}"
            )


def _malformed(sentence: str) -> InvalidInput:
    return InvalidInput("WEIGHTS_MALFORMED", sentence, "take the weights as a selection gave them")


@lru_cache(maxsize=1 << 14)  # a selection asks for every member's
def noise_of(manifest: bytes) -> float:
    """The standard deviation of the noise on a domain embedding, as an accepted manifest states it."""
    return float(json.loads(manifest)["privacy"]["key"]["sigma"])


def usable(view: PoolView, loaded: LoadedBlueprint, contribution_id: str) -> Contribution:
    """The contribution, if it is active and of this blueprint.

    Raises:
        NotFound: CONTRIBUTION_UNKNOWN.
        Refused: CONTRIBUTION_NOT_ACTIVE.
        InvalidInput: WEIGHTS_MALFORMED, it belongs to another blueprint.
    """
    contribution = view.contributions.get(contribution_id)
    if contribution.state != "ACTIVE":
        raise Refused(
            "CONTRIBUTION_NOT_ACTIVE",
            f"the contribution {contribution_id[:16]} is {contribution.state.lower()} and takes no part",
            "select again",
        )
    if contribution.blueprint_sha256 != loaded.blueprint.sha256:
        raise _malformed(f"the contribution {contribution_id[:16]} is not of blueprint {loaded.blueprint.name}")
    return contribution


def still_usable(view: PoolView, members: Iterable[Contribution]) -> None:
    """Refuse contributions of which one was withdrawn since they were looked up.

    Raises:
        Refused: CONTRIBUTION_NOT_ACTIVE.
    """
    for member in members:
        if view.contributions.get(member.contribution_id).state != "ACTIVE":
            raise Refused(
                "CONTRIBUTION_NOT_ACTIVE",
                f"the contribution {member.contribution_id[:16]} was withdrawn meanwhile",
                "select again",
            )


def prepare(view: PoolView, name: str, weights: Sequence[tuple[str, int]], budget: Budget) -> Order:
    """The order for a blueprint, weights and a size or budget; no weights ask for the seed itself.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN or CONTRIBUTION_UNKNOWN.
        InvalidInput: WEIGHTS_MALFORMED, SIZE_OUTSIDE_BLUEPRINT or BUDGET_TOO_SMALL.
        Refused: CONTRIBUTION_NOT_ACTIVE.
    """
    loaded = view.blueprint(name)
    check_weights(weights)
    size = loaded.blueprint.resolve(budget)
    members = tuple((usable(view, loaded, contribution_id), milli) for contribution_id, milli in weights)
    return Order(family(loaded), size, members)
