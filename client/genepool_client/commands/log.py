"""`genepool log ...`: what an auditor types. None of it needs an account, a key or trust in the pool."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_console import terminal
from genepool_console.terminal import JsonOption

if TYPE_CHECKING:
    from genepool_client.audit.verify import Audit, AuditReport
    from genepool_protocol.trust.anchors import Anchors
    from genepool_protocol.trust.trusted import Trusted

app = typer.Typer(context_settings=terminal.CONTEXT, no_args_is_help=True, pretty_exceptions_enable=False)

PoolOption = Annotated[
    str, typer.Option("--pool", metavar="FILE|ADDR", help="The pinned pool.json, or HOST:PORT of a remembered pool.")
]


@app.command()
def verify(
    *,
    pool: PoolOption,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="EXPORT", help="A static copy of the log; else the pool itself.")
    ] = None,
    since: Annotated[
        list[Path] | None, typer.Option("--since", metavar="CHECKPOINT", help="A checkpoint seen before; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Audit a pool's whole log: every hash, signature and step, against the trusted keys and what was seen before."""
    import contextlib
    from datetime import UTC, datetime

    from genepool_client.audit import source
    from genepool_client.audit.verify import audit
    from genepool_client.transport import known_pools, log_memory
    from genepool_client.transport.channel import Connection
    from genepool_protocol.wire.errors import VerificationError

    anchors = known_pools.find(pool)
    with contextlib.ExitStack() as undo:
        if folder is None:
            connection = undo.enter_context(Connection(anchors))
            trusted, read = connection.trusted, source.pool(connection)
            undo.enter_context(terminal.progress("auditing"))(0, 0, "reading the log")
        else:
            trusted, read = known_pools.trusted(anchors), source.folder(folder)
        seen = [*log_memory.given(since or [], trusted.log), *log_memory.remembered(trusted, anchors)]
        audited = audit(read, trusted, seen, datetime.now(UTC))
    evidence = _settle(audited, trusted, anchors)
    terminal.answer(asdict(audited.report) | evidence, as_json=as_json, text=_text(audited.report, evidence))
    if audited.report.violations:
        raise typer.Exit(VerificationError.exit_code)


@app.command()
def evidence(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A site's or witness's folder; else what this user keeps.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Print the contradicting checkpoints that were kept when a log was caught: proof for anybody with its key."""
    from genepool_client.transport import log_memory

    pairs = log_memory.evidence(folder)
    text = [line for pair in pairs for line in _pair(pair)]
    terminal.answer(pairs, as_json=as_json, text=text or "no log was ever caught with two faces")


def _pair(pair: dict[str, str]) -> list[str]:
    seen, later = (pair[name].split("\n") for name in ("seen", "shown"))  # signed notes have several lines
    return [pair["file"], "seen before:", *seen, "shown later:", *later]


def _settle(done: "Audit", trusted: "Trusted", anchors: "Anchors") -> dict[str, Any]:
    """Remember a head that passed; keep the evidence of one that contradicts what was seen."""
    from genepool_client.transport import log_memory

    if done.head is None:
        return {}
    if not done.report.violations:
        log_memory.remember(done.head, trusted, anchors, done.tree.consistency)
        return {}
    evidence = log_memory.contradiction(done.head, trusted, anchors, done.tree)
    return {} if evidence is None else {"evidence": str(evidence)}


def _text(report: "AuditReport", kept: dict[str, Any]) -> list[str]:
    lines = [f"{report.origin}: {report.size} entries, root {report.root or '(none)'}"]
    lines += [f"  {name}: {count}" for name, count in report.kinds.items()]
    lines.append(f"sites: {', '.join(f'{name} {state.lower()}' for name, state in report.sites.items()) or 'none'}")
    states = ", ".join(f"{count} {state.lower()}" for state, count in report.contributions.items())
    lines.append(f"contributions: {states or 'none'}")
    cosigned = (
        f"the head of {report.witnessed} entries by {', '.join(report.witnesses)}" if report.witnesses else "nothing"
    )
    lines.append(f"cosigned: {cosigned}")
    lines += [f"continues the checkpoint of {size} entries that was seen before" for size in report.continues]
    for violation in report.violations:
        where = "the log" if violation.index < 0 else f"entry {violation.index}"
        lines.append(f"VIOLATION: {where}: {violation.reason}: {violation.message}")
    lines += [f"evidence kept in {kept['evidence']}"] if kept else []
    lines.append(f"{len(report.violations)} violations" if report.violations else "the log is sound")
    return lines
