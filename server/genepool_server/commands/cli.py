"""`genepool-server`: what the operator of a pool types. The commands live in `commands`."""

import typer

from genepool_protocol.machine.launching import be_quiet, no_core_dumps

be_quiet()
no_core_dumps()

from genepool_console import terminal  # noqa: E402 - the switches come first
from genepool_server.commands import (  # noqa: E402
    backups,
    blueprints,
    campaigns,
    contributions,
    dashboards,
    logs,
    names,
    pools,
    roots,
    settings,
    sites,
)

app = typer.Typer(
    name="genepool-server",
    help="Run a pool of learngenes: make it, serve it, decide who may contribute.",
    epilog=terminal.EXIT_CODES,
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
pools.register(app)
names.register(app)
backups.register(app)
sites.register(app)
logs.register(app)
contributions.register(app)
app.add_typer(blueprints.app, name="blueprint")
app.add_typer(campaigns.app, name="campaign")
app.add_typer(settings.app, name="config")
app.add_typer(dashboards.app, name="dashboard")
app.add_typer(roots.app, name="root")
terminal.show_version(app, "genepool-server")


def main() -> None:
    """Entry point of the console script."""
    terminal.run(app, "genepool-server")
