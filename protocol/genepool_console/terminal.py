"""What both command lines share: one way to fail, to answer and to show progress; nothing else prints.

What is printed may hold text of a pool, a site or a file. So every line, cell and note passes `wire.text.shown`: no
character moves the cursor, hides, or begins a line, and no mark-up is read. What is meant as a new line is an item of
its own.

Answers go to standard output, as a table or (`--json`) as one JSON value; progress and errors go to standard error. The
exit code is the error class's (`wire.errors`): 0 is success, 130 an interruption.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer
from rich import progress as rich_progress
from rich.console import Console  # noqa: TID251 - this is the place
from rich.live import Live
from rich.table import Table
from rich.text import Text

import genepool_protocol
from genepool_console import log_lines
from genepool_console.missing import missing_extra
from genepool_protocol.machine import variables
from genepool_protocol.progress import Progress
from genepool_protocol.wire import disk_errors
from genepool_protocol.wire.errors import REQUEST, GenepoolError, InvalidInput, StorageError
from genepool_protocol.wire.text import shown

CONTEXT = {"help_option_names": ["-h", "--help"]}
"""Every command answers to -h."""

JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON value on standard output.")]

YesOption = Annotated[bool, typer.Option("--yes", help="Do what cannot be undone without a question.")]

EXIT_CODES = (
    "Exit codes: 0 done; 1 a defect; 2 the input is wrong; 3 it does not exist; 4 it cannot be trusted; "
    "5 not available now; 6 refused; 7 disk or ledger; 8 versions differ; 130 interrupted. "
    "With --json an error is one JSON object, too."
)
"""Last paragraph of a command line's help."""

_INTERRUPTED = 130


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit with its code; no traceback reaches the user for an error of ours."""
    _end_as_by_ctrl_c()
    if logging.lastResort is not None:
        logging.lastResort.addFilter(log_lines.Escaping())  # what commands without a log warn of
    try:
        variables.check(os.environ)
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
    except (ImportError, OSError) as exc:
        told = missing_extra(exc, name) if isinstance(exc, ImportError) else _disk_error(exc)
        if told is None:
            raise
        _fail(told)
    except Exception as exc:
        if not _is_usage_error(exc):
            raise
        _usage(exc)
    finally:
        sys.excepthook = _traceback  # typer puts its own there
    if code == _INTERRUPTED:
        say("interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _disk_error(exc: OSError) -> StorageError | None:
    return disk_errors.told(exc) if disk_errors.is_of_a_disk(exc) else None


def _is_usage_error(exc: Exception) -> bool:
    import click

    return isinstance(exc, click.ClickException)


def _usage(exc: Any) -> NoReturn:
    """Tell a click.UsageError as click does, and for programs as an error of ours."""
    exc.message = shown(exc.message)
    if "--json" in sys.argv:
        _print_json({"error": "OPTION_INVALID", "message": exc.format_message(), "fix": "see --help"}, None)
    exc.show()
    raise SystemExit(2) from None


def _end_as_by_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that it ends what it started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _terminated)


def _terminated(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(exc: GenepoolError) -> NoReturn:
    if "--json" in sys.argv:
        value = {"error": exc.reason, "message": exc.message, "fix": exc.fix}
        _print_json(value | ({REQUEST: exc.request} if exc.request else {}), None)
    say(f"error ({exc.reason}): {exc.diagnostics()}")
    raise SystemExit(exc.exit_code) from None


def say(line: str) -> None:
    """Tell a person one line, on standard error."""
    print(shown(line), file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Rows:
    """What is printed as a table.

    Attributes:
        columns: its head.
        cells: a row each, as long as the head.
        title: a line above it.
    """

    columns: Sequence[str]
    cells: Sequence[Sequence[object]]
    title: str = ""


def confirmed(question: str, way_out: str) -> bool:
    """Whether a person says yes.

    Args:
        question: a line; the answer is typed behind it.
        way_out: what to do where nobody can type.

    Raises:
        InvalidInput: OPTION_INVALID, nobody is there.
    """
    if not sys.stdin.isatty():
        raise InvalidInput("OPTION_INVALID", "this has to be confirmed, and nobody is here to do it", way_out)
    print(f"{shown(question)} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def agree(question: str, *, yes: bool) -> None:
    """Have a person confirm what cannot be undone; where nobody can type, whoever calls has said so by calling.

    Args:
        question: a line; the answer is typed behind it.
        yes: it was confirmed before (`--yes`).

    Raises:
        InvalidInput: OPTION_INVALID, the person said no.
    """
    if not yes and sys.stdin.isatty() and not confirmed(question, "give --yes"):
        raise InvalidInput("OPTION_INVALID", "it was not confirmed, and nothing was changed", "answer y, or give --yes")


def show_version(app: typer.Typer, name: str) -> None:
    """Give a command line the option `--version`."""

    def shows(*, asked: bool) -> None:
        if asked:
            _print_lines([f"{name} {genepool_protocol.__version__}"])
            raise typer.Exit

    @app.callback()
    def main(
        *,
        version: Annotated[
            bool,
            typer.Option(
                "--version", is_eager=True, callback=lambda value: shows(asked=value), help="Say the version."
            ),
        ] = False,
    ) -> None: ...


def answer(value: Any, *, as_json: bool, text: str | Sequence[str] | Rows | None = None) -> None:
    """Print a command's result.

    Args:
        value: what `--json` prints.
        as_json: whether the user asked for JSON.
        text: what a person reads, a line or several, or a table; the value's members, a line each, when there is none.
    """
    if as_json:
        _print_json(value, 2)
    elif isinstance(text, Rows):
        _print_rows(text)
    elif isinstance(text, str):
        _print_lines([text])
    else:
        _print_lines([f"{name}: {item}" for name, item in value.items()] if text is None else text)


def announce(value: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Say at once, in one line, that something that goes on has begun.

    Args:
        value: what `--json` prints.
        as_json: whether the user asked for JSON.
        text: what a person reads.
    """
    if as_json:
        _print_json(value, None)
    else:
        _print_lines([text])


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Rows:
    """A table of rows, one column per name."""
    return Rows([column.replace("_", " ") for column in columns], [[row[name] for name in columns] for row in rows])


def log_to_stderr(form: log_lines.Form = "auto") -> None:
    """Write the log to standard error, with the time in UTC.

    Args:
        form: text or json; auto: text when standard error is a terminal, else JSON.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)  # noqa: TID251 - with the filter
    handler.setFormatter(log_lines.TextLines() if text else log_lines.JsonLines())
    handler.addFilter(log_lines.Escaping())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _print_json(value: Any, indent: int | None) -> None:
    print(log_lines.json_text(value, indent), flush=True)  # noqa: T201


def _print_lines(lines: Sequence[str]) -> None:
    print("\n".join(map(shown, lines)), flush=True)  # noqa: T201


def _print_rows(rows: Rows) -> None:
    # a pipe has no width: no line is folded for whoever reads it
    Console(width=None if sys.stdout.isatty() else 10_000).print(_drawn(rows))


def _drawn(rows: Rows) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", title=Text(shown(rows.title)), title_justify="left")
    for column in rows.columns:
        drawn.add_column(Text(shown(column)), overflow="fold")
    for row in rows.cells:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    return drawn


def _traceback(_kind: type[BaseException], exc: BaseException, _trace: TracebackType | None) -> None:
    """What Python prints of a defect, printable."""
    print(log_lines.formatted(exc), file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def progress(label: str) -> Iterator[Progress]:
    """A progress bar on standard error while the block runs; plain lines, a few per task, when that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(label)
        return
    label_column, note_column = (
        rich_progress.TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[note]}")
    )
    columns = (
        label_column,
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        note_column,
    )
    with rich_progress.Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(shown(label), total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=shown(note))


@contextlib.contextmanager
def board() -> Iterator[Callable[[Rows], None]]:
    """A table on standard error that is drawn anew with every call; without a terminal, one line for each change.

    The first cell of a row names it.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _changes()
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda rows: live.update(_drawn(rows), refresh=True)


def _changes() -> Callable[[Rows], None]:
    said: dict[object, tuple[object, ...]] = {}
    headed = ""

    def show(rows: Rows) -> None:
        nonlocal headed
        if rows.title != headed:
            headed = rows.title
            say(headed)
        for name, *cells in rows.cells:
            if said.get(name) != tuple(cells):
                said[name] = tuple(cells)
                say(f"{name}: {', '.join(str(cell) for cell in cells if cell not in ('', 0))}")

    return show


def _lines(label: str) -> Progress:
    said = -1

    def report(done: int, total: int, note: str) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 0
        if tenth != said:
            said = tenth
            say(f"{label}: {done} of {total} {note}".rstrip())

    return report
