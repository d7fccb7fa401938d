"""backup, restore, seal and unseal: copies of a pool, and pools of copies."""

from pathlib import Path
from typing import Annotated

import typer

from genepool_console import terminal
from genepool_server.commands.options import FolderArgument


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore, seal, unseal):
        app.command()(command)


def backup(
    folder: FolderArgument,
    out: Annotated[Path, typer.Argument(help="A new folder for the backup.", metavar="OUT", show_default=False)],
    *,
    keys: Annotated[
        Path | None,
        typer.Option(help="Another new folder, for a copy of the private keys; keep it apart.", metavar="FOLDER"),
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Write a backup of one moment, also while the server runs; without --keys it holds no key that opens it."""
    from genepool_server.commands.operating import operate

    with operate(folder) as operator:
        summary = operator.upkeep.backup(out.absolute(), keys.absolute() if keys else None)
    text = f"{summary.contributions} learngenes and {summary.log_size} log entries in {out}; " + (
        f"the keys are in {keys}: keep the two apart" if keys else "it cannot be restored without the keys of that day"
    )
    value = {"folder": str(out), "keys": str(keys or ""), "contributions": summary.contributions}
    terminal.answer(value | {"log_size": summary.log_size}, as_json=as_json, text=text)


def restore(
    source: Annotated[Path, typer.Argument(help="The backup's folder.", metavar="BACKUP", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(help="The pool's folder: new, or empty.", metavar="DIR", show_default=False)
    ],
    *,
    keys: Annotated[Path, typer.Option(help="The folder with the copy of the private keys.", metavar="FOLDER")],
    ledger: Annotated[
        str, typer.Option(help="An empty PostgreSQL database for the ledger.", metavar="postgresql://...")
    ] = "",
    blobs: Annotated[str, typer.Option(help="An empty place on S3 for the weights.", metavar="s3://...")] = "",
    published: Annotated[
        list[Path] | None,
        typer.Option(
            help="The newest signed head that anybody has, or the old folder's log.size; may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Make a pool of a backup, checked as fsck does; refuses one that is older than what was published."""
    from genepool_server import app
    from genepool_server.pool.store.storage import Storage
    from genepool_server.pool.upkeep.restore import BackupSource

    report = app.restore(BackupSource(source, keys, tuple(published or ())), folder, Storage(ledger, blobs))
    seen = ", ".join(map(str, published or ()))
    text = f"{report.contributions} contributions and {report.log_size} log entries are in {folder}; " + (
        f"it continues what {seen} says was published"
        if seen
        else f"ask your witnesses whether the log has gone on after {report.log_size} entries before you serve it"
    )
    value = {"folder": str(folder), "contributions": report.contributions, "log_size": report.log_size}
    terminal.answer(value | {"compared_with": seen, "notes": report.notes}, as_json=as_json, text=text)


def seal(
    folder: FolderArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="Where the sealed copies go.", metavar="FOLDER")],
    as_json: terminal.JsonOption = False,
) -> None:
    """Write a sealed copy of all weights for a backup; withdrawing destroys the key of a copy, wherever that lies."""
    from genepool_server.commands.operating import operate

    with operate(folder) as operator:
        sealed, total = operator.upkeep.seal(out.absolute())
    text = f"{sealed} sealed now, {total} in {out}; their keys are in {folder / 'keys' / 'data'}"
    terminal.answer({"sealed": sealed, "total": total, "folder": str(out)}, as_json=as_json, text=text)


def unseal(
    folder: FolderArgument,
    *,
    source: Annotated[Path, typer.Option("--from", help="Where the sealed copies are.", metavar="FOLDER")],
    as_json: terminal.JsonOption = False,
) -> None:
    """Put back the weights that the store lacks, from sealed copies; the server must not run."""
    from genepool_server.commands.operating import opened

    with opened(folder) as pool:
        restored, total = pool.upkeep.unseal(source)
    text = f"{restored} put back, {total} are there"
    terminal.answer({"restored": restored, "total": total}, as_json=as_json, text=text)
