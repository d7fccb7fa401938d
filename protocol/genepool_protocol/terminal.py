"""What both command lines share: one way to fail, to answer and to show progress.

Answers go to standard output, as a table or (`--json`) as one JSON value; progress and errors go to standard error. The
exit code is the error class's (`wire.errors`): 0 is success, 130 an interruption.
"""

import contextlib
import errno
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from genepool_protocol.wire.errors import GenepoolError, StorageError

CONTEXT = {"help_option_names": ["-h", "--help"]}
"""Every command answers to -h."""

JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON value on standard output.")]

Report = Callable[[int, int, str], None]
"""Called with (done, total, note)."""

_DISK = {errno.ENOSPC: "DISK_FULL", errno.EDQUOT: "DISK_FULL", errno.EIO: "DISK_FAILED", errno.EROFS: "DISK_FAILED"}


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit with its code; no traceback reaches the user for an error of ours."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(prog_name=name, standalone_mode=False)
    except GenepoolError as exc:
        _fail(exc)
    except typer.Exit as exc:
        raise SystemExit(exc.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted; what was finished is kept, run the same command again to continue")
        raise SystemExit(130) from None
    except OSError as exc:
        if exc.errno not in _DISK:
            raise
        where = f" at {exc.filename}" if exc.filename else ""
        _fail(StorageError(_DISK[exc.errno], f"the disk cannot take it{where}: {exc.strerror}", "free some space and repeat"))
    except Exception as exc:
        if not _is_usage_error(exc):
            raise
        exc.show()  # type: ignore[attr-defined]
        raise SystemExit(2) from None
    raise SystemExit(0)


def _is_usage_error(exc: Exception) -> bool:
    import click

    return isinstance(exc, click.ClickException)


def _terminated(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(exc: GenepoolError) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": exc.reason, "message": exc.message, "fix": exc.fix}))  # noqa: T201
    _say(f"error ({exc.reason}): {exc.diagnostics()}")
    raise SystemExit(exc.exit_code) from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def answer(value: Any, *, as_json: bool, text: str | Table | None = None) -> None:
    """Print a command's result.

    Args:
        value: what `--json` prints.
        as_json: whether the user asked for JSON.
        text: what a person reads; the value's members, a line each, when there is none.
    """
    if as_json:
        print(json.dumps(value, indent=2))  # noqa: T201
        return
    if text is None:
        text = "\n".join(f"{name}: {item}" for name, item in value.items())
    Console(soft_wrap=not isinstance(text, Table)).print(text, markup=False, highlight=False)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """A table of rows, one column per name."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        made.add_row(*(str(row[column]) for column in columns))
    return made


@contextlib.contextmanager
def progress(label: str) -> Iterator[Report]:
    """A progress bar on standard error while the block runs; plain lines, a few per task, when that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(label, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


def _lines(label: str) -> Report:
    said = -1

    def report(done: int, total: int, note: str) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 0
        if tenth != said:
            said = tenth
            _say(f"{label}: {done} of {total} {note}".rstrip())

    return report
