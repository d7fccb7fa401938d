"""What TALS answered, for people and programs, whichever side computed it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from genepool_protocol.learngene.descendant import weight_text
from genepool_protocol.selection.combination import Mixture
from genepool_protocol.trust import digest
from genepool_protocol.v1 import consume_pb2, types_pb2
from genepool_protocol.wire import text
from genepool_protocol.wire.documents import LICENSE, NAME
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

if TYPE_CHECKING:
    from genepool_protocol.selection import tals
    from genepool_protocol.selection.score import Score

Mode = Literal["private", "remote"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contribution that TALS looked at; the scores are None where only its domain embedding was compared.

    Attributes:
        contribution_id: names it.
        site: who made it.
        license: SPDX.
        images: how many images the site says it was made from.
        key_distance: from its domain embedding to the task embedding.
        place: by embedding distance, 1 is the nearest.
        knn: leave-one-out accuracy of nearest neighbours on its features.
        lda: the same of linear discriminant analysis.
        logme: log maximum evidence.
        milli: its weight in thousandths, 0 when it was not chosen.
    """

    contribution_id: str
    site: str
    license: str
    images: int
    key_distance: float
    place: int
    knn: float | None
    lda: float | None
    logme: float | None
    milli: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Sparse weights for a task, with reasons.

    Attributes:
        blueprint: its name.
        mode: who computed.
        choice: "seed", "single" or "combination".
        weights: (contribution id, thousandths), sorted by id; empty for the seed.
        candidates: nearest domain embedding first.
        reason: one sentence.
        kernel: which arithmetic scored.
        snapshot: hex SHA-256 over the sorted ids that were considered.
    """

    blueprint: str
    mode: Mode
    choice: str
    weights: Mixture
    candidates: tuple[Candidate, ...]
    reason: str
    kernel: str
    snapshot: str

    @property
    def credits(self) -> tuple[Candidate, ...]:
        """The candidates that were chosen, in the order of the weights."""
        by_id = {candidate.contribution_id: candidate for candidate in self.candidates}
        return tuple(by_id[name] for name, _ in self.weights)

    def as_json(self) -> dict[str, Any]:
        """For programs; weights are decimal texts."""
        value = asdict(self)
        value["weights"] = {name: weight_text(milli) for name, milli in self.weights}
        for candidate in value["candidates"]:
            candidate["weight"] = weight_text(candidate.pop("milli"))
        value["candidates"] = list(value["candidates"])
        return value

    def __str__(self) -> str:
        parts = [f"{weight_text(credit.milli)} of {credit.site} ({credit.license})" for credit in self.credits]
        return f"{self.choice}: {' + '.join(parts) or 'the seed alone'}; {self.reason}"

    @classmethod
    def of_tals(cls, blueprint: str, answer: "tals.TalsSelection", entries: Mapping[str, types_pb2.Entry]) -> Self:
        """The answer that was computed at home."""
        weights = dict(answer.weights)
        candidates = tuple(
            _candidate(
                entries[candidate.contribution_id],
                candidate.embedding_distance,
                candidate.place,
                candidate.score,
                weights,
            )
            for candidate in answer.candidates
        )
        return cls(
            blueprint,
            "private",
            answer.choice,
            answer.weights,
            candidates,
            answer.reason,
            answer.kernel,
            answer.snapshot,
        )

    @classmethod
    def of_message(cls, blueprint: str, message: consume_pb2.Selection) -> Self:
        """The answer of the pool, whose weights are held against the rules before anything is asked for with them.

        Raises:
            GenepoolError: INTERNAL, the pool's answer makes no sense.
            InvalidInput: FILE_MALFORMED, a text is not printable; NAME_INVALID, as `check_entry`.
        """
        if message.choice not in ("seed", "single", "combination"):
            raise GenepoolError("INTERNAL", f"the pool's selection is a {message.choice[:20]!r}", "try --private")
        for what in ("reason", "kernel", "snapshot"):
            text.require(getattr(message, what), f"the {what} of the pool's selection")
        mixture = check_mixture(
            [(weight.contribution_id, weight.milli) for weight in message.weights],
            {candidate.entry.contribution_id for candidate in message.candidates},
        )
        weights = dict(mixture)
        candidates = tuple(
            _candidate(shown.entry, shown.key_distance, shown.place, shown if shown.shortlisted else None, weights)
            for shown in message.candidates
        )
        return cls(
            blueprint, "remote", message.choice, mixture, candidates, message.reason, message.kernel, message.snapshot
        )


def _candidate(
    entry: types_pb2.Entry,
    distance: float,
    place: int,
    score: "Score | consume_pb2.Candidate | None",
    weights: Mapping[str, int],
) -> Candidate:
    check_entry(entry)
    return Candidate(
        contribution_id=entry.contribution_id,
        site=entry.site,
        license=entry.license,
        images=entry.image_count,
        key_distance=distance,
        place=place,
        knn=score.knn if score else None,
        lda=score.lda if score else None,
        logme=score.logme if score else None,
        milli=weights.get(entry.contribution_id, 0),
    )


def check_entry(entry: types_pb2.Entry) -> None:
    """Refuse a contribution whose site or licence is no name: people read them.

    Raises:
        InvalidInput: NAME_INVALID.
    """
    for what, value, pattern in (("site", entry.site, NAME), ("licence", entry.license, LICENSE)):
        if not re.fullmatch(pattern, value):
            raise InvalidInput(
                "NAME_INVALID",
                f"the pool lists a contribution with the {what} {text.shown(value)[:80]}, which is none",
                "tell the pool's operator",
            )


def check_mixture(weights: Sequence[tuple[str, int]], known: Iterable[str]) -> Mixture:
    """The weights, if they are sorted by id without repetition, nonzero, few, and of known contributions.

    Raises:
        GenepoolError: INTERNAL.
    """
    names = [name for name, _ in weights]
    sound = names == sorted(set(names)) and len(names) <= LIMITS.members and set(names) <= set(known)
    if not sound or not all(milli and digest.is_sha256_hex(name) for name, milli in weights):
        raise GenepoolError(
            "INTERNAL", "the pool's selection names weights that no selection can have", "try --private"
        )
    return tuple(weights)
