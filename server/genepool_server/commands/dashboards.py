"""dashboard: how an operator's browser is let in to the pages of a running server."""

import typer

from genepool_console import terminal
from genepool_server.commands.options import FolderArgument

app = typer.Typer(
    help="The dashboard of a running server.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """The dashboard of a running server."""


@app.command()
def link(folder: FolderArgument, *, as_json: terminal.JsonOption = False) -> None:
    """Print a link that logs one browser in as the operator, once, within two minutes."""
    from genepool_protocol.machine import operator_door
    from genepool_protocol.wire.errors import Unavailable
    from genepool_server import config
    from genepool_server.commands.remote_operator import RemoteOperator

    config.load(folder)
    path = operator_door.running(folder)
    if path is None:
        fix = f"start it: genepool-server serve {folder} --dashboard 8480"
        raise Unavailable("POOL_UNREACHABLE", f"no server serves {folder}", fix)
    with RemoteOperator(path, folder) as operator:
        url, seconds = operator.open_dashboard()
    terminal.answer({"url": url, "seconds": seconds}, as_json=as_json, text=url)
    terminal.say(f"open it within {seconds} s: it works once, and the session ends with the server")
