"""Whether a command line is one that a program takes, by the program's own parser; nothing is run."""

import shlex

import click
import typer

from genepool_client.commands.cli import app as client
from genepool_server.commands.cli import app as server

PROGRAMS = {"genepool": client, "genepool-server": server}


def parse(line: str) -> click.Context:
    """What the parser makes of it: `info_name` is the command, `params` its arguments and options.

    Raises:
        click.UsageError: the program would refuse it.
    """
    program, *words = shlex.split(line)
    name = program.rpartition("/")[2]
    command: click.Command = typer.main.get_command(PROGRAMS[name])
    context = command.make_context(name, words)
    while isinstance(command, click.Group):
        word, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        context, command = inner.make_context(word, rest, parent=context), inner
    return context
