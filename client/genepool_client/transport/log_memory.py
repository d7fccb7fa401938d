"""What this user has seen of pools' logs: the last verified checkpoint of each, and evidence against those caught.

$GENEPOOL_HOME/logs/NAME-HASH/checkpoint        NAME-HASH: the log's origin and the hash of the pinned root
$GENEPOOL_HOME/logs/NAME-HASH/fork-evidence/    two signed notes that exclude each other
"""

import re
from collections.abc import Sequence
from pathlib import Path

from genepool_client.transport.logview import FetchProof, LogView
from genepool_client.transport.user_folders import home
from genepool_protocol.private_files import private_folder
from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.merkle import Tree
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import InvalidInput, VerificationError


def view(trusted: Trusted, anchors: Anchors, fetch: FetchProof, root: Path | None = None) -> LogView:
    """The memory of a pool's log, this user's unless another folder is given; its folder is made."""
    name = re.sub(r"[^A-Za-z0-9.-]", "_", trusted.origin)
    folder = (root or home() / "logs") / f"{name}-{anchors.root_sha256[:8]}"
    private_folder(folder)
    return LogView(folder / "checkpoint", trusted.log, fetch)


def given(paths: Sequence[Path], log: AnyLog) -> list[Checkpoint]:
    """Checkpoints in files, verified.

    Raises:
        InvalidInput: PATH_MISSING.
        VerificationError: CHECKPOINT_INVALID.
    """
    checkpoints = []
    for path in paths:
        try:
            raw = path.read_text(encoding="utf-8", errors="replace")
        except OSError as exc:
            why = f"the checkpoint {path} cannot be read: {exc.strerror}"
            raise InvalidInput("PATH_MISSING", why, "check the path") from exc
        checkpoints.append(heads.verify(raw, log))
    return checkpoints


def remembered(trusted: Trusted, anchors: Anchors) -> list[Checkpoint]:
    """What this user saw last of the log, if anything.

    Raises:
        VerificationError: CHECKPOINT_INVALID, the file was changed.
    """
    seen = view(trusted, anchors, _nothing).seen()
    return [] if seen is None else [seen]


def remember(head: Checkpoint, trusted: Trusted, anchors: Anchors, fetch: FetchProof) -> None:
    """Keep a head that was audited."""
    view(trusted, anchors, fetch).advance(head)


def contradiction(head: Checkpoint, trusted: Trusted, anchors: Anchors, tree: Tree) -> Path | None:
    """Where the evidence lies when a head contradicts what this user saw; None when it does not."""
    memory = view(trusted, anchors, tree.consistency)
    seen = memory.seen()
    if seen is None or seen.size > len(tree) or tree.root(seen.size) == seen.root:
        return None  # a shorter copy may be an old one: that alone is no evidence
    try:
        memory.advance(head)
    except VerificationError:
        return memory.evidence
    return None


def evidence(folder: Path | None) -> list[dict[str, str]]:
    """Every pair of contradicting notes below a folder, by default below this user's memory.

    Raises:
        InvalidInput: PATH_MISSING.
    """
    root = home() / "logs" if folder is None else folder
    if folder is not None and not folder.is_dir():
        raise InvalidInput("PATH_MISSING", f"there is no folder {folder}", "check the path")
    rows = []
    for shown in sorted(root.rglob("fork-evidence/*-shown.note")):
        seen = shown.with_name(shown.name.replace("-shown.note", "-seen.note"))
        texts = [path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "" for path in (seen, shown)]
        rows.append({"file": str(shown), "seen": texts[0], "shown": texts[1]})
    return rows


def _nothing(_old: int, _new: int) -> Sequence[bytes]:
    return []
