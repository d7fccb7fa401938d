"""log: what the pool's log holds, and a copy of it for everybody."""

from pathlib import Path
from typing import Annotated, Any

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE, DirOption


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
    from genepool_protocol.learngene.history import listed
    from genepool_protocol.trust.witness import cosignatures
    from genepool_server import config
    from genepool_server.commands.operating import operate
    from genepool_server.pool.log import tile_files

    place = folder or directory
    policy = config.load(place).policy
    with operate(place) as operator:
        witnessed, note = operator.heads.witnessed(), operator.heads.latest()  # the second one is as large, or larger
        lines = note.split("\n")
        size, root = (int(lines[1]), lines[2]) if note else (0, "")
        entries = listed(operator.log.tile, size, max(0, size - last)) if last else []
        files = 0 if export is None else tile_files.export(export, size, note, operator.log.tile, witnessed)
    value: dict[str, Any] = {
        "origin": lines[0],
        "size": size,
        "root": root,
        "checkpoint": note,
        "witnesses": [cosignature.name for cosignature in cosignatures(note, policy.witnesses)] if note else [],
        "quorum": policy.quorum,
        "witnessed": int(witnessed.split("\n")[1]) if witnessed else 0,
        "entries": entries,
    }
    if export is not None:
        value |= {"folder": str(export), "files": files}
    terminal.answer(value, as_json=as_json, text=_text(value))


def _text(value: dict[str, Any]) -> list[str]:
    if not value["size"]:
        return ["the log is empty"]
    lines = [f"{value['origin']}: {value['size']} entries, root {value['root']}"]
    lines.append(f"cosigned by: {', '.join(value['witnesses']) or 'nobody'}")
    lines.append(
        f"witnessed by a quorum up to entry {value['witnessed']}" if value["quorum"] else "no quorum is asked for"
    )
    lines += [
        f"{entry['index']:>8}  {entry['kind']:<10}{entry['about']}  {entry['time']}".rstrip()
        for entry in value["entries"]
    ]
    if "folder" in value:
        lines.append(f"{value['files']} files in {value['folder']}: serve that folder as it is")
    return lines
