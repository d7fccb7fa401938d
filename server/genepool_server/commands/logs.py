"""log: what the pool's log holds, and a copy of it for everybody."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_protocol import terminal
from genepool_server.commands.options import HERE, DirOption

if TYPE_CHECKING:
    from genepool_server.operating import Operator

_COLUMNS = ("index", "kind", "about", "time")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(log)


def log(
    folder: Annotated[Path | None, typer.Argument(help="The pool's folder.", metavar="DIR", show_default=False)] = None,
    *,
    directory: DirOption = HERE,
    last: Annotated[int, typer.Option(help="How many of the last entries to show.", min=0)] = 10,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write a static copy (C2SP tlog-tiles) for any HTTP server.", metavar="FOLDER"),
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Show the log's size, root, witnesses and last entries, or write a copy of it."""
    from genepool_server.operating import operate
    from genepool_server.pool import tile_files

    with operate(folder or directory) as operator:
        note = operator.checkpoint()
        lines = note.split("\n")
        size, root = (int(lines[1]), lines[2]) if note else (0, "")
        entries = _entries(operator, size, max(0, size - last)) if last else []
        files = 0 if export is None else tile_files.export(export, size, note, operator.tile)
    value: dict[str, Any] = {"size": size, "root": root, "checkpoint": note, "entries": entries}
    text = f"{size} entries, root {root}\n{terminal.table(entries, _COLUMNS)}" if size else "the log is empty"
    if export is not None:
        value |= {"folder": str(export), "files": files}
        text += f"\n{files} files in {export}: serve that folder as it is"
    terminal.answer(value, as_json=as_json, text=text)


def _entries(operator: "Operator", size: int, start: int) -> list[dict[str, Any]]:
    from genepool_protocol.learngene.history import described
    from genepool_protocol.trust import tiles

    found = tiles.entries(operator.tile, size, start)
    return [{"index": start + place, **described(payload)} for place, (_, payload) in enumerate(found)]
