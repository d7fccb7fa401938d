"""invite, sites, approve, suspend and revoke: who may contribute."""

from pathlib import Path
from typing import Annotated

import typer

from genepool_protocol import terminal
from genepool_server.commands.options import HERE, DirOption, SiteArgument


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (invite, sites, approve, suspend, revoke):
        app.command()(command)


def invite(
    site: SiteArgument,
    *,
    directory: DirOption = HERE,
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", metavar="FILE", show_default="invite-SITE.json")
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Write an invitation for a site, a file with a secret; an earlier one that was not used is void."""
    from datetime import UTC, datetime

    from genepool_protocol.trust.anchors import Invite, read_anchors
    from genepool_server.app import ANCHORS_FILE
    from genepool_server.operating import operate
    from genepool_server.pool import durable

    with operate(directory) as operator:
        anchors = read_anchors(directory / ANCHORS_FILE)
        invite_id, secret = operator.invite(site, datetime.now(UTC))
    path = out or Path(f"invite-{site}.json")
    made = Invite(site=site, invite_id=invite_id, secret=secret, anchors=anchors)
    durable.write(path, made.model_dump_json(by_alias=True, indent=2).encode() + b"\n")
    terminal.answer({"site": site, "file": str(path)}, as_json=as_json, text=str(path))


def sites(*, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """List every site with its state and the fingerprint of its key."""
    from genepool_server.operating import operate

    with operate(directory) as operator:
        rows = [{"site": site.name, "state": site.state, "keyid": site.keyid} for site in operator.sites()]
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, ("site", "state", "keyid")))


def approve(site: SiteArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Let a site contribute whose key's fingerprint you have compared with the site."""
    _change("approve", site, directory, as_json=as_json)


def suspend(site: SiteArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Stop a site from contributing until it is approved again."""
    _change("suspend", site, directory, as_json=as_json)


def revoke(site: SiteArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Stop a site from contributing for ever; what it contributed before stays."""
    _change("revoke", site, directory, as_json=as_json)


def _change(verb: str, name: str, directory: Path, *, as_json: bool) -> None:
    from genepool_server.operating import operate

    with operate(directory) as operator:
        changes = {"approve": operator.approve, "suspend": operator.suspend, "revoke": operator.revoke}
        site = changes[verb](name)
    terminal.answer({"site": site.name, "state": site.state, "keyid": site.keyid}, as_json=as_json)
