"""config check: what a pool is set to, and where each setting comes from."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE

_COLUMNS: Final = ("setting", "value", "from")

app = typer.Typer(
    help="See what a pool is set to.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def group() -> None:
    """See what a pool is set to."""  # with a callback, the one command keeps its name


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The pool's folder, here by default.", metavar="[DIR]")] = HERE,
    *,
    as_json: terminal.JsonOption = False,
) -> None:
    """Read and check the settings without opening the pool; says which are in force, and where each comes from."""
    from genepool_server import config

    settings = config.load(folder)
    settings.certified()  # two settings that can be right each, and wrong together
    rows = [
        {"setting": name, "value": value, "from": config.CONFIG_FILE if given else "default"}
        for name, value, given in settings.origins()
    ]
    rows += _environment()
    shown = terminal.Rows(_COLUMNS, [[str(row[name]) for name in _COLUMNS] for row in rows])
    terminal.answer({"settings": rows}, as_json=as_json, text=shown)


def _environment() -> list[dict[str, Any]]:
    from genepool_protocol.machine.variables import VARIABLES

    return [
        {"setting": name, "value": "(secret)" if variable.secret else variable.get(), "from": "environment"}
        for name, variable in VARIABLES.items()
        if variable.get()
    ]
