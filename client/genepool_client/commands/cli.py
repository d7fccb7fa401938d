"""`genepool`: what sites, consumers and researchers type. Each command is a thin shell around a room."""

import typer

from genepool_console import terminal
from genepool_protocol.machine.launching import be_quiet, no_core_dumps

be_quiet()
no_core_dumps()

from genepool_client.commands import consumer, deployment, log, simulate, site, site_point, witness  # noqa: E402 - the switches come first
from genepool_client.commands.doctor import doctor  # noqa: E402

app = typer.Typer(
    name="genepool",
    help="Contribute learngenes to a pool, and get Vision Transformers of any size from it.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(site.app, name="site", help="A data-holding site: train, condense, sign, submit.")
app.add_typer(log.app, name="log", help="A pool's log: audit it, and show evidence against it.")
app.add_typer(witness.app, name="witness", help="Vouch that a pool shows everybody the same log.")
site_point.register(site.app)
consumer.register(app)
simulate.register(app)
deployment.register(app)
app.command()(doctor)
terminal.show_version(app, "genepool")


def main() -> None:
    """Entry point of the console script."""
    terminal.run(app, "genepool")
