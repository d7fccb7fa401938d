"""`genepool site point`: follow a pool to another address."""

from typing import Annotated

import typer

from genepool_client.commands.site import Folder
from genepool_client.site.folder import SiteFolder
from genepool_console import terminal
from genepool_console.terminal import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(point)


def point(
    folder: Folder,
    *,
    pool: Annotated[
        str, typer.Option("--pool", metavar="FILE|ADDR", help="The pool's new pool.json, or its new HOST:PORT.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Follow the pool to another address; it must be the same pool, and answer there. Else nothing is changed."""
    site = SiteFolder(folder)
    from genepool_client.site import moving

    with site.locked():
        before = site.config.anchors.address
        moving.point(site, pool)
    value = {"site": site.config.name, "before": before, "pool": site.config.anchors.address}
    terminal.answer(value, as_json=as_json, text=f"{site.config.name} finds its pool at {value['pool']} from now on")
