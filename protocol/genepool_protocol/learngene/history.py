"""What the log says happened, replayed leaf by leaf: who may have signed what, and in which order things can be.

    sites:          enrolled -> approved <-> suspended, each of them -> revoked or (keys lost) invited -> enrolled
    contributions:  accepted -> admitted | rejected, each of the three -> withdrawn -> erased

The pool's fsck and anybody's audit replay the same log with this; a pure function of leaves and statements.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT
from genepool_protocol.trust import digest, events, receipt, tiles
from genepool_protocol.trust.envelope import Verified
from genepool_protocol.trust.events import Decision, Erasure, Event, SiteEvent, Withdrawal
from genepool_protocol.trust.statement import check_model_statement
from genepool_protocol.trust.terms import StatementKeys
from genepool_protocol.wire.errors import GenepoolError

SiteState = Literal["INVITED", "PENDING", "ACTIVE", "SUSPENDED", "REVOKED"]
State = Literal["QUARANTINED", "ACTIVE", "REJECTED", "WITHDRAWN"]

_STEPS: Final[dict[str, tuple[frozenset[SiteState], SiteState]]] = {
    "approved": (frozenset({"PENDING", "SUSPENDED"}), "ACTIVE"),
    "suspended": (frozenset({"ACTIVE"}), "SUSPENDED"),
    "revoked": (frozenset({"PENDING", "ACTIVE", "SUSPENDED"}), "REVOKED"),
    "invited": (frozenset({"PENDING", "ACTIVE", "SUSPENDED"}), "INVITED"),
    "rotated": (frozenset({"ACTIVE"}), "ACTIVE"),
}


@dataclass(slots=True)
class SiteStanding:
    """A site as the log knows it."""

    state: SiteState
    keyids: set[str]


@dataclass(slots=True)
class LoggedStanding:
    """A contribution as the log knows it.

    Attributes:
        index: of its leaf.
        site: whose key signed it.
        sha256: hex, of learngene.safetensors.
        state: after the leaves so far.
        withdrawn: index of the withdrawal.
        erased: index of the erasure.
    """

    index: int
    site: str
    sha256: str
    state: State = "QUARANTINED"
    withdrawn: int | None = None
    erased: int | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A leaf that should not be there."""

    index: int
    reason: str
    message: str


@dataclass(slots=True)
class History:
    """Replays a log from its first leaf on.

    Attributes:
        origin: the pool's name.
        release: who signs what the pool does by itself.
        operator: who signs what the operator decides.
        size: leaves so far.
        sites: by name.
        contributions: by id.
        kinds: how many leaves of each kind.
    """

    origin: str
    release: StatementKeys
    operator: StatementKeys
    size: int = 0
    sites: dict[str, SiteStanding] = field(default_factory=dict)
    contributions: dict[str, LoggedStanding] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _weights: set[str] = field(default_factory=set)

    def take(self, body: bytes, payload: bytes) -> list[Violation]:
        """Replay one more leaf.

        Args:
            body: the leaf.
            payload: the statement that it is of.

        Returns:
            What is wrong with it; a leaf that breaks a rule changes nothing.
        """
        index, self.size = self.size, self.size + 1
        try:
            verified = receipt.open_leaf(body, payload)
            event = events.parse(verified.payload)
            kind = "accepted" if event is None else _kind(event)
            violations = self._accepted(index, verified) if event is None else self._event(index, verified, event)
            wrong = list(violations)
        except GenepoolError as exc:
            return [Violation(index, exc.reason, exc.message)]
        if not wrong:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
        return [Violation(index, "LOG_INVALID", f"{kind}: {why}") for why in wrong]

    def _accepted(self, index: int, verified: Verified) -> Iterator[str]:
        stated = check_model_statement(verified, SUBJECT, [LEARNGENE_FILE, MANIFEST_FILE], ignore=[BUNDLE_FILE])
        site, sha256 = self._owners.get(verified.key.keyid), stated.digests[LEARNGENE_FILE]
        if site is None or verified.key.keyid not in self.sites[site].keyids:
            yield "no site enrolled the key that signed it"
        elif self.sites[site].state != "ACTIVE":
            yield f"its site was {self.sites[site].state.lower()}"
        elif stated.payload_sha256 in self.contributions:
            yield "the log holds this contribution already"
        elif sha256 in self._weights:
            yield "another contribution holds these weights"
        else:
            self.contributions[stated.payload_sha256] = LoggedStanding(index, site, sha256)
            self._weights.add(sha256)

    def _event(self, index: int, verified: Verified, event: Event) -> Iterator[str]:
        role = self.operator if event.by_operator else self.release
        ours = role.speaks(verified.key.keyid, index)
        if event.pool != self.origin:
            yield "it is about another pool"
        elif not ours and not isinstance(event, Withdrawal):
            yield f"only the pool's {'operator' if event.by_operator else 'release'} key of that time may sign it"
        elif isinstance(event, SiteEvent):
            yield from self._enrolled(event) if event.event == "enrolled" else self._moved(event)
        elif isinstance(event, Decision | Withdrawal | Erasure):
            contribution = self.contributions.get(event.contribution_id)
            if contribution is None or contribution.sha256 != event.sha256:
                yield "the log holds no such contribution of these weights before it"
            elif isinstance(event, Decision):
                yield from _decided(contribution, event)
            elif isinstance(event, Withdrawal):
                yield from self._withdrawn(index, contribution, None if ours else verified.key.keyid)
            else:
                yield from _erased(index, contribution)

    def _enrolled(self, event: SiteEvent) -> Iterator[str]:
        known = self.sites.get(event.site)
        if (known is not None and known.state != "INVITED") or event.keyid in self._owners:
            yield "the site or its key has enrolled already"
        else:
            self.sites[event.site] = SiteStanding("PENDING", {event.keyid})
            self._owners[event.keyid] = event.site

    def _moved(self, event: SiteEvent) -> Iterator[str]:
        before, after = _STEPS[event.event]
        known = self.sites.get(event.site)
        rotated = event.event == "rotated"
        if rotated and event.keyid in self._owners:
            yield "the new key belongs to a site already"
        elif known is None or (not rotated and event.keyid not in known.keyids):
            yield "the site has not enrolled with this key"
        elif known.state not in before:
            yield f"the site was {known.state.lower()}"
        else:
            known.state = after
            if rotated:
                known.keyids.add(event.keyid)
                self._owners[event.keyid] = event.site
            elif event.event == "invited":
                known.keyids.clear()  # they are lost; the site enrols anew

    def _withdrawn(self, index: int, found: LoggedStanding, keyid: str | None) -> Iterator[str]:
        """A withdrawal by a site's key, or by the pool's own (None)."""
        signer = None if keyid is None else self._owners.get(keyid, "nobody who enrolled")
        if signer not in (None, found.site):
            yield f"it is signed by {signer}, the contribution is {found.site}'s"
        elif signer is not None and self.sites[signer].state == "REVOKED":
            yield "its site was revoked"
        elif found.state == "WITHDRAWN":
            yield "the contribution was withdrawn before"
        else:
            found.state, found.withdrawn = "WITHDRAWN", index


def _decided(found: LoggedStanding, event: Decision) -> Iterator[str]:
    if found.state != "QUARANTINED":
        yield f"the contribution was {found.state.lower()}"
    else:
        found.state = "ACTIVE" if event.passed else "REJECTED"


def _erased(index: int, found: LoggedStanding) -> Iterator[str]:
    if found.state != "WITHDRAWN" or found.erased is not None:
        yield "the contribution was not withdrawn, or was erased before"
    else:
        found.erased = index


def _kind(event: Event) -> str:
    if isinstance(event, SiteEvent):
        return event.event
    if isinstance(event, Decision):
        return "admitted" if event.passed else "rejected"
    return "withdrawn" if isinstance(event, Withdrawal) else "erased"


def listed(read: tiles.Read, end: int, start: int) -> list[dict[str, Any]]:
    """The log's entries from `start` to before `end`, each with its index and as `described`.

    Raises:
        VerificationError: LOG_INVALID, a bundle is malformed.
        GenepoolError: what `read` and `described` raise.
    """
    entries = tiles.entries(read, end, start)
    return [{"index": start + place, **described(payload)} for place, (_, payload) in enumerate(entries)]


def described(payload: bytes) -> dict[str, str]:
    """What a statement is about, for people; nothing of it is checked.

    Raises:
        InvalidInput: JSON_MALFORMED or STATEMENT_MALFORMED.
    """
    event = events.parse(payload)
    if event is None:
        contribution_id = digest.sha256_hex(payload)
        return {"kind": "accepted", "about": contribution_id, "contribution_id": contribution_id, "time": ""}
    if isinstance(event, SiteEvent):
        return {"kind": _kind(event), "about": event.site, "contribution_id": "", "time": event.time}
    contribution_id = str(getattr(event, "contribution_id", ""))
    return {"kind": _kind(event), "about": contribution_id, "contribution_id": contribution_id, "time": event.time}
