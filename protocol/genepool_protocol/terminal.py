"""What both command lines share: one way to fail, to answer and to show progress.

Answers go to standard output, as a table or (`--json`) as one JSON value; progress and errors go to standard error. The
exit code is the error class's (`wire.errors`): 0 is success, 130 an interruption.
"""

import contextlib
import errno
import json
import os
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

EXIT_CODES = (
    "Exit codes: 0 done; 1 a defect; 2 the input is wrong; 3 it does not exist; 4 it cannot be trusted; "
    "5 not available now; 6 refused; 7 disk or ledger; 8 versions differ; 130 interrupted. "
    "With --json an error is one JSON object, too."
)
"""Last paragraph of a command line's help."""

_DISK = {errno.ENOSPC: "DISK_FULL", errno.EDQUOT: "DISK_FULL", errno.EIO: "DISK_FAILED", errno.EROFS: "DISK_FAILED"}
_DISK |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR), "DISK_FAILED")

_INTERRUPTED = 130


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit with its code; no traceback reaches the user for an error of ours."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # typer answers the code of typer.Exit, and of KeyboardInterrupt, instead of letting them through
        code = app(prog_name=name, standalone_mode=False)
    except GenepoolError as exc:
        _fail(exc)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        # whoever read our answer has had enough of it; nothing more can be said there, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as exc:
        if exc.errno not in _DISK:
            raise
        where = f" at {exc.filename}" if exc.filename else ""
        sentence = f"the disk cannot take it{where}: {exc.strerror}"
        _fail(StorageError(_DISK[exc.errno], sentence, _mend(exc.errno)))
    except Exception as exc:
        if not _is_usage_error(exc):
            raise
        exc.show()  # type: ignore[attr-defined]
        raise SystemExit(2) from None
    if code == _INTERRUPTED:
        _say("interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _mend(number: int) -> str:
    return (
        "free some space and repeat" if _DISK[number] == "DISK_FULL" else "check the path, its permissions and the disk"
    )


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
    # a pipe has no width: no line is folded for whoever reads it
    console = Console(soft_wrap=not isinstance(text, Table), width=None if sys.stdout.isatty() else 10_000)
    console.print(text, markup=False, highlight=False)


def announce(value: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Say at once, in one line, that something that goes on has begun.

    Args:
        value: what `--json` prints.
        as_json: whether the user asked for JSON.
        text: what a person reads.
    """
    print(json.dumps(value) if as_json else text, flush=True)  # noqa: T201


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
    label_column, note_column = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (label_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note_column)
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
