"""Takes quarantined contributions one after another, in the order of the log, and concludes each.

What was not concluded when the process ended is QUARANTINED with an empty note, and is taken up again by the next one.
A review depends on the contribution, the active ones, sketches of withdrawn ones and the pool's secret alone, so that
it says the same then.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from genepool_protocol.wire.errors import GenepoolError, Refused, StorageError, Unavailable
from genepool_server.admission.company import Company
from genepool_server.admission.screens import Finding
from genepool_server.pool.contributions.decisions import Verdict
from genepool_server.pool.pool import OpenPool
from genepool_server.records import Contribution, ContributionState, LoadedBlueprint

_log: Final = logging.getLogger(__name__)

Screening = Literal["enforce", "warn", "off"]
Screen = Callable[[LoadedBlueprint, Contribution, Company], list[Finding]]

_RETRY_SECONDS: Final = 10.0
_ATTEMPTS: Final = 5
_WAITS: Final = "waits for the operator"


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """What becomes of a contribution that passed the numbered checks.

    Attributes:
        automatic: whether it can become active without an operator.
        screening: what findings do: decide (enforce), are noted (warn), or are not looked for (off).
        approve_first: so many of a site's contributions must be active before one becomes so without the operator.
    """

    automatic: bool = True
    screening: Screening = "enforce"
    approve_first: int = 0

    @property
    def at_once(self) -> bool:
        """Whether nothing is left to be decided when the checks have passed."""
        return self.automatic and self.screening == "off" and not self.approve_first

    def verdict(self, findings: list[Finding], active_of_site: int) -> Verdict:
        """What the findings lead to.

        Args:
            findings: of all screens and the canary.
            active_of_site: how many of the site's contributions are active.
        """
        note = "; ".join(map(str, findings))
        deciding = [finding for finding in findings if not finding.noted]
        if deciding and self.screening == "enforce":
            rejected = any(finding.rejects for finding in deciding)
            return Verdict("REJECTED", note) if rejected else Verdict("QUARANTINED", f"{_WAITS}: {note}")
        clean = not deciding and self.screening != "off"
        passed = "passed every check, the screens and the canary" if clean else "passed every check"
        if note:
            passed = f"{passed}; {note}" if clean else note
        if not self.automatic or active_of_site < self.approve_first:
            return Verdict("QUARANTINED", f"{_WAITS}: {passed}")
        return Verdict("ACTIVE", passed, screened=clean)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A review that was concluded.

    Attributes:
        contribution: what was reviewed, as it was before.
        state: what it is now; QUARANTINED: it waits for the operator.
        seconds: how long the review took.
    """

    contribution: Contribution
    state: ContributionState
    seconds: float


class Reviews:
    """A thread that reviews what arrives; made by whoever serves a pool.

    Args:
        pool: whose contributions.
        policy: what findings lead to.
        screen: screens and canary.
        concluded: hears of each review that was concluded, on the thread.
    """

    def __init__(
        self,
        pool: OpenPool,
        policy: ReviewPolicy,
        screen: Screen,
        concluded: Callable[[Reviewed], None] = lambda _: None,
    ) -> None:
        self._concluded = concluded
        self._contributions = pool.contributions
        self._blueprints = pool.blueprints()
        self._policy = policy
        self._screen = screen
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="genepool-reviews", daemon=True)

    def start(self) -> None:
        """Take up what waits, then whatever arrives."""
        self._thread.start()

    def ending(self) -> None:
        """Begin no review any more; whoever waits for one that runs then ends its process."""
        self._ended.set()
        self._contributions.intake.arrived.set()

    def stop(self) -> None:
        """End; what is under review stays quarantined."""
        self.ending()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._contributions.intake.arrived.clear()
            try:
                self.review_all()
            except GenepoolError as exc:
                if not self._ended.is_set():
                    _log.warning("reviews pause for %g s: %s: %s", _RETRY_SECONDS, exc.reason, exc.message)
                    self._ended.wait(_RETRY_SECONDS)
                    self._contributions.intake.arrived.set()
            except Exception:  # noqa: BLE001
                # a defect must not end reviews for ever, and must be heard of
                _log.exception("reviews pause for %g s", _RETRY_SECONDS)
                self._ended.wait(_RETRY_SECONDS)
                self._contributions.intake.arrived.set()
            self._contributions.intake.arrived.wait()

    def review_all(self) -> None:
        """Review everything that waits.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, no process for the screens can be started.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        for contribution in self._contributions.unreviewed():
            if self._ended.is_set():
                return
            self.review(contribution)

    def review(self, found: Contribution) -> None:
        """Review one contribution and conclude it, unless it was decided or withdrawn meanwhile."""
        began = time.monotonic()
        findings = self._findings(found)
        of_site = [
            member for member in self._contributions.all() if member.site == found.site and member.state == "ACTIVE"
        ]
        told = tuple((member.about, _foreign(found)) for member in findings if member.about)
        verdict = replace(self._policy.verdict(findings, len(of_site)), told=told)
        try:
            self._contributions.conclude(found.contribution_id, verdict)
        except Refused as exc:
            _log.info("the review of %s came too late: %s", found.contribution_id[:16], exc.message)
        else:
            _log.info(
                "contribution %s of %s: %s, %s", found.contribution_id[:16], found.site, verdict.state, verdict.note
            )
            self._concluded(Reviewed(found, verdict.state, time.monotonic() - began))
            for name, sentence in told:
                _log.warning("look at contribution %s: %s", name[:16], sentence)

    def _findings(self, found: Contribution) -> list[Finding]:
        if self._policy.screening == "off":
            return []
        loaded = next(entry for entry in self._blueprints if entry.blueprint.sha256 == found.blueprint_sha256)
        why = ""
        for _ in range(_ATTEMPTS):
            company = self._contributions.company(found)
            try:
                return self._screen(loaded, found, company)
            except (Unavailable, StorageError):
                raise
            except GenepoolError as exc:  # weights may have been withdrawn while they were read
                why = f"{exc.reason}: {exc.message}"
                unchanged = sorted(entry.contribution_id for entry in company.active) == self._ids(loaded)
                if unchanged or self._contributions.get(found.contribution_id).state != "QUARANTINED":
                    break
        return [Finding("INCOMPLETE", f"the review could not be ended ({why})")]

    def _ids(self, loaded: LoadedBlueprint) -> list[str]:
        return [member.contribution_id for member in self._contributions.active(loaded.blueprint, ())]


def _foreign(found: Contribution) -> str:
    return f"FOREIGN_COPY: it is a later copy of what the site of contribution {found.contribution_id[:16]} had first"
