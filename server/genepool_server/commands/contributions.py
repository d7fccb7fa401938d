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
        rows = [_row(found) for found in operator.each_contribution(brief=True)]
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, _COLUMNS))


def show(identifier: IdArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Show one contribution with everything that its site signed, and the descendants that were made from it."""
    from genepool_server.commands.operating import operate, resolve

    with operate(directory) as operator:
        found = resolve(operator, identifier)
        made = list(operator.descendants(found.contribution_id))
    answer = _row(found) | {
        "note": found.note,
        "blueprint_sha256": found.blueprint_sha256,
        "sha256": found.sha256,
        "file": str(found.path),
        "descendants": [asdict(one) for one in made],
        "manifest": json.loads(found.manifest),
    }
    terminal.answer(answer, as_json=as_json, text=_text(answer))


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
    as_json: terminal.JsonOption = False,
) -> None:
    """End a contribution for ever: out of every selection at once, its weights erased, its descendants listed.

    A sealed sketch is kept, by which the pool knows a copy that comes back.
    """
    from genepool_protocol.wire import text
    from genepool_server.commands.operating import operate, resolve

    text.require(reason, "the reason")
    with operate(directory) as operator:
        done = operator.withdraw_as_operator(resolve(operator, identifier).contribution_id, reason)
        made = [asdict(one) for one in operator.descendants(done.contribution_id)]
    value = {"contribution_id": done.contribution_id, "erased": done.erased, "descendants": made}
    lines = [f"{done.contribution_id} is withdrawn{' and erased' if done.erased else ''}"]
    lines += ["a sealed sketch of its weights is kept, to know a copy that comes back"]
    lines += [f"{len(made)} descendants were made from it and cannot be recalled"] if made else []
    lines += [f"  {one['sha256']}  {one['blueprint']} {one['size']}" for one in made]
    terminal.answer(value, as_json=as_json, text=lines)


def _decide(
    identifier: str, state: Literal["ACTIVE", "REJECTED"], directory: Path, note: str, *, as_json: bool
) -> None:
    from genepool_protocol.wire import text
    from genepool_server.commands.operating import operate, resolve

    text.require(note, "the note")
    with operate(directory) as operator:
        found = operator.decide(resolve(operator, identifier).contribution_id, state, note)
    terminal.answer(_row(found) | {"note": found.note}, as_json=as_json)


def _row(found: "Contribution") -> dict[str, Any]:
    return {column: getattr(found, column) for column in _COLUMNS}


def _text(answer: dict[str, Any]) -> list[str]:
    manifest = {name: value for name, value in answer["manifest"].items() if name != "tensors"}
    plain = [f"{name}: {value}" for name, value in answer.items() if name not in ("manifest", "descendants")]
    plain += [f"descendant: {one['sha256']} ({one['blueprint']} {one['size']})" for one in answer["descendants"]]
    signed = [f"  {name}: {value}" for name, value in manifest.items()]
    return [*plain, f"manifest ({len(answer['manifest']['tensors'])} tensors, see --json):", *signed]
