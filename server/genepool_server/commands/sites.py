"""invite, sites, approve, suspend and revoke: who may contribute."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE, DirOption, SiteArgument

if TYPE_CHECKING:
    from genepool_server.records import Site


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (invite, sites, approve, suspend, revoke):
        app.command()(command)


def invite(
    site: SiteArgument,
    *,
    directory: DirOption = HERE,
    hours: Annotated[int, typer.Option(help="Hours that the invitation can be used.", min=1, max=8760)] = 72,
    role: Annotated[
        list[str] | None,
        typer.Option(
            help="contributor, consumer, auditor or witness; may be repeated.", show_default="contributor, consumer"
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="The site has lost its keys: they end now.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", metavar="FILE", show_default="invite-SITE.json")
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Write an invitation for a site, a file with a secret; an earlier one that was not used is void."""
    from datetime import UTC, datetime, timedelta

    from genepool_protocol.trust.anchors import Invite, read_anchors
    from genepool_protocol.wire.access import DEFAULT_ROLES
    from genepool_server import durable
    from genepool_server.app import ANCHORS_FILE
    from genepool_server.commands.operating import operate

    with operate(directory) as operator:
        anchors = read_anchors(directory / ANCHORS_FILE)
        given = operator.sites.invite(
            site, datetime.now(UTC), life=timedelta(hours=hours), roles=role or DEFAULT_ROLES, again=again
        )
    path = out or Path(f"invite-{site}.json")
    invite_file = Invite(
        site=site, invite_id=given.invite_id, secret=given.secret, expires=given.expires, anchors=anchors
    )
    durable.write(path, invite_file.model_dump_json(by_alias=True, indent=2).encode() + b"\n")
    terminal.answer({"site": site, "file": str(path), "expires": given.expires}, as_json=as_json, text=str(path))


def sites(*, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """List every site with its state, its roles and the fingerprint of its keys."""
    from genepool_server.commands.operating import operate

    with operate(directory) as operator:
        rows = [_shown(site) for site in operator.sites.each()]
    columns = ("site", "state", "roles", "fingerprint", "certificate_ends")
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, columns))


def approve(
    site: SiteArgument,
    *,
    directory: DirOption = HERE,
    fingerprint: Annotated[
        str, typer.Option(help="What the site read to you; other keys are then refused.", metavar="TEXT")
    ] = "",
    as_json: terminal.JsonOption = False,
) -> None:
    """Let a site in whose keys' fingerprint you have compared with the site."""
    from genepool_server.commands.operating import operate

    with operate(directory) as operator:
        approved = operator.sites.approve(site, fingerprint)
    terminal.answer(_shown(approved), as_json=as_json)


def suspend(site: SiteArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Shut a site out until it is approved again; calls that run are ended."""
    _change("suspend", site, directory, as_json=as_json)


def revoke(
    site: SiteArgument,
    *,
    directory: DirOption = HERE,
    yes: terminal.YesOption = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Shut a site out for ever; what it contributed before stays."""
    terminal.agree(f"shut {site} out for ever?", yes=yes)
    _change("revoke", site, directory, as_json=as_json)


def _change(verb: str, name: str, directory: Path, *, as_json: bool) -> None:
    from genepool_server.commands.operating import operate

    with operate(directory) as operator:
        changes = {"suspend": operator.sites.suspend, "revoke": operator.sites.revoke}
        site = changes[verb](name)
    terminal.answer(_shown(site), as_json=as_json)


def _shown(site: "Site") -> dict[str, str]:
    from genepool_protocol.trust.enrolment import grouped
    from genepool_server.tls.certificates import parse

    ends = f"{parse(site.certificate.encode(), site.name).not_valid_after_utc:%Y-%m-%d}" if site.certificate else ""
    return {
        "site": site.name,
        "state": site.state,
        "roles": ", ".join(site.roles),
        "fingerprint": grouped(site.fingerprint),
        "certificate_ends": ends,
        "keyid": site.keyid,
    }
