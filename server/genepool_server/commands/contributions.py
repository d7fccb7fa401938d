"""contributions, show, admit, reject and withdraw: what the pool holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE, DirOption, IdArgument

if TYPE_CHECKING:
    from genepool_server.records import Contribution

_COLUMNS = ("contribution_id", "site", "state", "license", "size_bytes", "log_index", "images")

NoteOption = Annotated[str, typer.Option("--note", help="The reason, for the site to read.", metavar="TEXT")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (contributions, show, admit, reject, withdraw):
        app.command()(command)


def contributions(*, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """List every contribution, in the order of the log."""
    from genepool_server.commands.operating import operate

    with operate(directory) as operator:
        rows = [_row(contribution) for contribution in operator.contributions.each(brief=True)]
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, _COLUMNS))


def show(identifier: IdArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Show one contribution with everything that its site signed, and the descendants that were made from it."""
    from genepool_server.commands.operating import operate, resolve

    with operate(directory) as operator:
        contribution = resolve(operator, identifier)
        descendants = list(operator.contributions.descendants.of(contribution.contribution_id))
    value = _row(contribution) | {
        "note": contribution.note,
        "blueprint_sha256": contribution.blueprint_sha256,
        "sha256": contribution.sha256,
        "file": str(contribution.path),
        "descendants": [asdict(descendant) for descendant in descendants],
        "manifest": json.loads(contribution.manifest),
    }
    terminal.answer(value, as_json=as_json, text=_text(value))


def admit(
    identifier: IdArgument, *, directory: DirOption = HERE, note: NoteOption = "", as_json: terminal.JsonOption = False
) -> None:
    """Let consumers have a contribution that waits in quarantine."""
    _decide(identifier, "ACTIVE", directory, note, as_json=as_json)


def reject(
    identifier: IdArgument, *, directory: DirOption = HERE, note: NoteOption = "", as_json: terminal.JsonOption = False
) -> None:
    """Refuse a contribution that waits in quarantine, for ever."""
    _decide(identifier, "REJECTED", directory, note, as_json=as_json)


def withdraw(
    identifier: IdArgument,
    *,
    directory: DirOption = HERE,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is logged for everybody.", metavar="TEXT")] = "",
    yes: terminal.YesOption = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """End a contribution for ever: out of all selections, its weights erased but for a sealed sketch against copies."""
    from genepool_protocol.wire import text
    from genepool_server.commands.operating import operate, resolve

    text.require(reason, "the reason")
    terminal.agree(f"withdraw {identifier} for ever?", yes=yes)
    with operate(directory) as operator:
        withdrawn = operator.contributions.withdraw_as_operator(resolve(operator, identifier).contribution_id, reason)
        descendants = [
            asdict(descendant) for descendant in operator.contributions.descendants.of(withdrawn.contribution_id)
        ]
    value = {"contribution_id": withdrawn.contribution_id, "erased": withdrawn.erased, "descendants": descendants}
    lines = [f"{withdrawn.contribution_id} is withdrawn{' and erased' if withdrawn.erased else ''}"]
    lines += ["a sealed sketch of its weights is kept, to know a copy that comes back"]
    lines += [f"{len(descendants)} descendants were made from it and cannot be recalled"] if descendants else []
    lines += [f"  {descendant['sha256']}  {descendant['blueprint']} {descendant['size']}" for descendant in descendants]
    terminal.answer(value, as_json=as_json, text=lines)


def _decide(
    identifier: str, state: Literal["ACTIVE", "REJECTED"], directory: Path, note: str, *, as_json: bool
) -> None:
    from genepool_protocol.wire import text
    from genepool_server.commands.operating import operate, resolve

    text.require(note, "the note")
    with operate(directory) as operator:
        contribution = operator.contributions.decide(resolve(operator, identifier).contribution_id, state, note)
    terminal.answer(_row(contribution) | {"note": contribution.note}, as_json=as_json)


def _row(found: "Contribution") -> dict[str, Any]:
    return {column: getattr(found, column) for column in _COLUMNS}


def _text(answer: dict[str, Any]) -> list[str]:
    manifest = {name: value for name, value in answer["manifest"].items() if name != "tensors"}
    plain = [f"{name}: {value}" for name, value in answer.items() if name not in ("manifest", "descendants")]
    plain += [
        f"descendant: {descendant['sha256']} ({descendant['blueprint']} {descendant['size']})"
        for descendant in answer["descendants"]
    ]
    signed = [f"  {name}: {value}" for name, value in manifest.items()]
    return [*plain, f"manifest ({len(answer['manifest']['tensors'])} tensors, see --json):", *signed]
