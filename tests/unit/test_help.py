"""Every command, argument and option of both programs says what it is for."""

import pytest
import typer

from genepool_client.commands.cli import app as client
from genepool_server.commands.cli import app as server


def silent(command, path):
    """What has no help text, as `program command parameter`."""
    if not (command.help or "").strip():
        yield path
    for parameter in command.params:
        if not (getattr(parameter, "help", "") or "").strip():
            yield f"{path} {parameter.name}"
    for name, inner in getattr(command, "commands", {}).items():
        yield from silent(inner, f"{path} {name}")


@pytest.mark.parametrize(("name", "app"), [("genepool", client), ("genepool-server", server)])
def test_nothing_is_left_unexplained(name, app):
    assert list(silent(typer.main.get_command(app), name)) == []
