"""What the log holds beside contributions: what was decided about sites and contributions, each a signed statement.

Each is an in-toto Statement v1 in RFC 8785 bytes. There is one way to write an event, so a reader refuses every other.
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError

from genepool_protocol.trust import strict_json
from genepool_protocol.trust.statement import STATEMENT_TYPE
from genepool_protocol.wire.documents import Document, Name, Printable, Timestamp, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import (
    DECISION_PREDICATE,
    ERASURE_PREDICATE,
    SITE_EVENT_PREDICATE,
    WITHDRAWAL_PREDICATE,
)

INGEST: Final = "LEARNGENE_INGEST"
"""verifiedLevels of a decision: the numbered checks of admission passed."""

SCREENED: Final = "LEARNGENE_CANARY"
"""The same: screens and canary found nothing either."""

_ADMISSION: Final = "https://genepool/admission/v1"
_CONTRIBUTION: Final = "https://genepool/contribution/"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[Printable, Field(max_length=500)]


class Event(Document):
    """The common part: which pool, and when by its signer's clock (a claim; the log's order is what counts)."""

    predicate_type: ClassVar[str]

    pool: str
    time: Timestamp

    @abstractmethod
    def subject(self) -> tuple[str, str]:
        """Name and hex SHA-256 of what the event is about."""

    def predicate(self) -> dict[str, Any]:
        """The predicate's members."""
        return self.model_dump()

    @property
    def by_operator(self) -> bool:
        """Whether the operator's key signs it; what the pool does by itself, its release key signs."""
        return False

    @classmethod
    def of(cls, predicate: dict[str, Any]) -> Self:
        """The event of a predicate."""
        return cls.model_validate(predicate)

    def payload(self) -> bytes:
        """The statement's bytes."""
        name, sha256 = self.subject()
        value = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": sha256}}],
            "predicateType": self.predicate_type,
            "predicate": self.predicate(),
        }
        return strict_json.canonical(value)


class SiteEvent(Event):
    """An operator's word on a site; or a site's own step, which the pool records."""

    predicate_type: ClassVar[str] = SITE_EVENT_PREDICATE

    site: Name
    event: Literal["invited", "enrolled", "approved", "suspended", "revoked", "rotated"]
    keyid: Hex  # of the site's signing key: the one that ends (invited), the new one (rotated), or the current one
    reason: Reason = ""

    @property
    def by_operator(self) -> bool:
        """A site enrols and replaces its key by itself, while nobody operates."""
        return self.event not in ("enrolled", "rotated")

    def subject(self) -> tuple[str, str]:
        """The site's key."""
        return "site", self.keyid


class Decision(Event):
    """Whether a contribution was admitted, by the pool's rules or by the operator; SLSA's verification summary."""

    predicate_type: ClassVar[str] = DECISION_PREDICATE

    contribution_id: Hex
    sha256: Hex  # of learngene.safetensors
    passed: bool
    policy: Literal["automatic", "operator"]
    screened: bool = False  # screens and canary found nothing

    @property
    def by_operator(self) -> bool:
        """As its policy says."""
        return self.policy == "operator"

    def subject(self) -> tuple[str, str]:
        """The learngene."""
        return "learngene", self.sha256

    def predicate(self) -> dict[str, Any]:
        """The members of slsa.dev/verification_summary/v1."""
        return {
            "verifier": {"id": self.pool},
            "timeVerified": self.time,
            "resourceUri": _CONTRIBUTION + self.contribution_id,
            "policy": {"uri": f"{_ADMISSION}#{self.policy}"},
            "inputAttestations": [{"digest": {"sha256": self.contribution_id}}],
            "verificationResult": "PASSED" if self.passed else "FAILED",
            "verifiedLevels": [INGEST, *([SCREENED] if self.screened else [])] if self.passed else [],
        }

    @classmethod
    def parse(cls, predicate: dict[str, Any], sha256: str) -> Self:
        """The decision of a predicate about a learngene."""
        return cls(
            pool=predicate["verifier"]["id"],
            time=predicate["timeVerified"],
            contribution_id=predicate["inputAttestations"][0]["digest"]["sha256"],
            sha256=sha256,
            passed=predicate["verificationResult"] == "PASSED",
            policy=predicate["policy"]["uri"].partition("#")[2],
            screened=SCREENED in predicate["verifiedLevels"],
        )


class Withdrawal(Event):
    """The end of a contribution: its site's word, or the operator's; signed by the site's key or the operator's."""

    predicate_type: ClassVar[str] = WITHDRAWAL_PREDICATE

    contribution_id: Hex
    sha256: Hex  # of learngene.safetensors
    scope: Literal["erase"] = "erase"
    reason: Reason = ""

    @property
    def by_operator(self) -> bool:
        """Unless its site did."""
        return True

    def subject(self) -> tuple[str, str]:
        """The learngene."""
        return "learngene", self.sha256


class Erasure(Event):
    """The weights of a withdrawn contribution are gone from the pool's store; signed by the pool's release key."""

    predicate_type: ClassVar[str] = ERASURE_PREDICATE

    contribution_id: Hex
    sha256: Hex  # of learngene.safetensors

    def subject(self) -> tuple[str, str]:
        """The learngene."""
        return "learngene", self.sha256


_KINDS: Final = {kind.predicate_type: kind for kind in (SiteEvent, Decision, Withdrawal, Erasure)}


def parse(payload: bytes) -> Event | None:
    """The event that a verified payload states; None for a statement of another type, such as a contribution's.

    Raises:
        InvalidInput: JSON_MALFORMED; STATEMENT_MALFORMED, it is not written in the one way.
    """
    value = strict_json.loads(payload, max_bytes=LIMITS.bundle_bytes, what="statement")
    kind = _KINDS.get(str(value.get("predicateType"))) if isinstance(value, dict) else None
    if kind is None:
        return None
    try:
        predicate, sha256 = value["predicate"], value["subject"][0]["digest"]["sha256"]
        event = Decision.parse(predicate, sha256) if kind is Decision else kind.of(predicate)
    except (KeyError, TypeError, IndexError, AttributeError, ValidationError) as exc:
        why = first_problem(exc) if isinstance(exc, ValidationError) else type(exc).__name__
        raise _bad(f"a member is missing or wrong: {why}") from exc
    if event.payload() != payload:
        raise _bad("a member differs from what such a statement says")
    return event


def _bad(why: str) -> InvalidInput:
    return InvalidInput("STATEMENT_MALFORMED", f"the signed event is malformed: {why}", "sign again with genepool")
