"""The offline audit of a pool's log, by anyone who has its trust root: nothing of it is taken on trust.

  (1) the head is signed by a log key of its time; the quorum of named witnesses cosigned it, or one that it continues
  (2) the leaves give its root, and the tiles of hashes are those of the leaves
  (3) every leaf's statement is there, and its signature holds
  (4) every statement may be there: who signed it, and what happened before (see `learngene.history`)
  (5) it continues every checkpoint that was seen before

What it does not say: that the pool shows everybody the same log (witnesses and other auditors do), or that what the
statements claim of the world is true.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from genepool_client.audit.source import LogSource
from genepool_protocol.learngene.history import History, Violation
from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import merkle, tiles
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.encoding import b64
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import GenepoolError


@dataclass(slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        origin: the log's name.
        size: leaves under the head.
        root: base64, as the head has it.
        kinds: how many entries of each kind.
        sites: state by name.
        contributions: how many are in each state.
        witnesses: names of those who cosigned the latest head that a quorum did.
        witnessed: size of that head.
        continues: sizes of earlier checkpoints that the log was proved to continue.
        violations: must be empty.
    """

    origin: str
    size: int = 0
    root: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    contributions: dict[str, int] = field(default_factory=dict)
    witnesses: list[str] = field(default_factory=list)
    witnessed: int = 0
    continues: list[int] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit's report with what it was computed from: the verified head and its tree."""

    report: AuditReport
    head: Checkpoint | None
    tree: merkle.Tree


WHOLE = -1
"""Index of a violation that is not one leaf's."""


def audit(source: LogSource, trusted: Trusted, seen: Sequence[Checkpoint], now: datetime) -> Audit:
    """Audit a log.

    Args:
        source: the log.
        trusted: what is believed of its pool.
        seen: verified checkpoints that this auditor has seen before.
        now: the clock: the cosignatures of a live log must be fresh.

    Raises:
        GenepoolError: the source cannot be read.
        VerificationError: CHECKPOINT_INVALID, the head is not the trusted log's: there is nothing to audit.
    """
    report, tree = AuditReport(trusted.origin), merkle.Tree()
    head = heads.verify(source.checkpoint, trusted.log) if source.checkpoint else None
    if head is not None:
        report.size, report.root = head.size, b64(head.root)
        _replay(report, source, trusted, head.size, tree)  # (3) (4)
        if tree.root() != head.root:  # (2)
            _whole(report, "LOG_INVALID", "the leaves do not give the root that the log signed")
        _tiles(report, source, head.size, tree)
        _witnesses(report, source, trusted, tree, now if source.live else None)  # (1)
    for checkpoint in seen:  # (5)
        _continues(report, checkpoint, tree)
    return Audit(report, head, tree)


def _whole(report: AuditReport, reason: str, message: str) -> None:
    report.violations.append(Violation(WHOLE, reason, message))


def _witnesses(
    report: AuditReport, source: LogSource, trusted: Trusted, tree: merkle.Tree, now: datetime | None
) -> None:
    try:
        head = heads.verify(source.witnessed or source.checkpoint, trusted.log)
        report.witnesses = [cosignature.name for cosignature in trusted.policy.demand(head, now)]
    except GenepoolError as exc:
        _whole(report, exc.reason, exc.message)
        return
    if source.witnessed and (head.size > len(tree) or tree.root(head.size) != head.root):
        _whole(report, "LOG_FORK", "its witnesses cosigned another log")
    report.witnessed = head.size


def _replay(report: AuditReport, source: LogSource, trusted: Trusted, size: int, tree: merkle.Tree) -> None:
    history = History(trusted.origin, trusted.release, trusted.operator)
    for body, payload in tiles.entries(source.read, size):
        tree.append(merkle.leaf_hash(body))
        report.violations += history.take(body, payload)
    report.kinds = dict(sorted(history.kinds.items()))
    report.sites = {name: record.state for name, record in sorted(history.sites.items())}
    states = [record.state for record in history.contributions.values()]
    report.contributions = {state: states.count(state) for state in sorted(set(states))}


def _tiles(report: AuditReport, source: LogSource, size: int, tree: merkle.Tree) -> None:
    for tile in tiles.tiles(size):
        if tile.level is not None and source.read(tile.path) != tiles.hashes(tree, tile):
            _whole(report, "LOG_INVALID", f"{tile.path} does not hold the hashes of the leaves")


def _continues(report: AuditReport, seen: Checkpoint, tree: merkle.Tree) -> None:
    if seen.size > len(tree):
        why = f"the log ends before the {seen.size} entries that were seen: an old copy, or it was rolled back"
        _whole(report, "LOG_FORK", why)
    elif tree.root(seen.size) != seen.root:
        _whole(report, "LOG_FORK", f"its first {seen.size} entries are not those that were signed before")
    else:
        report.continues.append(seen.size)
