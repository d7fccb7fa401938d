"""campaign app, start, resume, list, show and stop: inviting sites through Flower."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE, DirOption

if TYPE_CHECKING:
    from datetime import datetime

    from genepool_protocol.wire.errors import Unavailable
    from genepool_server.campaign.conduct import Conductor
    from genepool_server.campaign.stage import GateDoors
    from genepool_server.config import ServerConfig
    from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns
    from genepool_server.records import Site

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST: Final = 366 * 86_400  # seconds
_PORT: Final = 8472
_STOP: Final = 90.0  # seconds that a campaign may take to end its processes
_POLL: Final = 0.2  # seconds
_HEADS: Final = ("id", "state", "accepted", "min_sites", "began", "deadline", "ended")
_COLUMNS: Final = ("site", "progress", "invitations", "contribution_id", "reason")

CampaignArgument = Annotated[
    str, typer.Argument(help="Id of a campaign, or its first characters.", metavar="ID", show_default=False)
]

ReportOption = Annotated[Path | None, typer.Option(help="Keep a JSON report there.", metavar="FILE")]

app = typer.Typer(
    help="Invite sites through Flower.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("app")
def bundle(
    *,
    out: Annotated[Path | None, typer.Option(help="Write the bundle there.", metavar="FILE")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Print the digest of the app bundle, which holds no code: what a site's people confirm once."""
    from genepool_server import durable
    from genepool_server.campaign import fab

    built = fab.build()
    if out is not None:
        durable.write(out, built, 0o644)
    digest = fab.digest_of(built)
    value = {"sha256": digest, "size_bytes": len(built), "file": str(out) if out else None}
    terminal.answer(value, as_json=as_json, text=digest)


@app.command()
def start(
    *,
    min_sites: Annotated[int, typer.Option(help="Contributions that the campaign needs.", min=1)],
    deadline: Annotated[
        str,
        typer.Option(help="Until when sites are invited: 90s, 30m, 12h, 7d, or a time such as 2027-01-31T12:00:00Z."),
    ],
    chosen: Annotated[
        str, typer.Option("--sites", help="Names, with commas; by default every active contributor.", metavar="A,B")
    ] = "",
    directory: DirOption = HERE,
    listen: Annotated[
        str,
        typer.Option(
            help=f"Where nodes connect; by default the pool's entrance, else its host and port {_PORT}.",
            metavar="HOST:PORT",
        ),
    ] = "",
    advertise: Annotated[
        str, typer.Option(help="What sites are told instead, if another address leads to it.", metavar="HOST:PORT")
    ] = "",
    report: ReportOption = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Invite sites until each has contributed or the deadline is over; fails when too few did."""
    from genepool_server import config
    from genepool_server.campaign.conduct import Terms

    settings = config.load(directory)
    names = tuple(dict.fromkeys(name.strip() for name in chosen.split(",") if name.strip()))
    terms = Terms(min_sites, end_of(deadline), names)
    _check(directory, names, min_sites)
    with _conductor(directory, report) as conductor:
        record = conductor.run(terms, _doors(directory, settings, listen, advertise))
    _conclude(record, report, as_json=as_json)


@app.command()
def resume(
    campaign: CampaignArgument,
    *,
    directory: DirOption = HERE,
    report: ReportOption = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Go on with a campaign whose process ended before the deadline; who has contributed is not asked again."""
    from genepool_server import config
    from genepool_server.campaign.stage import GateDoors

    settings = config.load(directory)
    record = _campaigns(directory).get(campaign)
    _sites(directory)
    doors = GateDoors.again(record) if record.listen else _doors(directory, settings, "", "")
    with _conductor(directory, report) as conductor:
        record = conductor.resume(record.id, doors)
    _conclude(record, report, as_json=as_json)


@app.command("list")
def list_(*, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """List the pool's campaigns; a record that cannot be read is named with what to do."""
    campaigns = _campaigns(directory)
    rows = [_head(campaigns.settle(record)) for record in campaigns.each()]
    damaged = dict(campaigns.damaged())
    for exc in () if as_json else damaged.values():
        terminal.say(exc.diagnostics())
    rows += [
        dict.fromkeys(_HEADS, "") | {"id": path.stem, "state": "damaged", "note": exc.diagnostics()}
        for path, exc in damaged.items()
    ]
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, _HEADS))


@app.command()
def show(campaign: CampaignArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """Show what became of each site of a campaign."""
    campaigns = _campaigns(directory)
    record = campaigns.settle(campaigns.get(campaign))
    if as_json:
        terminal.answer(_summary(record), as_json=True)
        return
    terminal.answer(_head(record), as_json=False)
    terminal.answer(None, as_json=False, text=_rows(record))


@app.command()
def stop(campaign: CampaignArgument, *, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """End a campaign that runs or was interrupted; what the pool has taken in stays."""
    from genepool_protocol.machine.processes import terminate
    from genepool_protocol.wire.errors import Refused, Unavailable

    campaigns = _campaigns(directory)
    record = campaigns.settle(campaigns.get(campaign))
    if record.state == "interrupted":
        record = campaigns.give_up(record)
        terminal.answer(_summary(record), as_json=as_json, text=_text(record))
        return
    if not record.alive or not terminate(record.pid, record.process):
        raise Refused(
            "STATE_TRANSITION",
            f"the campaign {record.id} does not run: it is {record.state}",
            "nothing is to be stopped",
        )
    record = _ended(campaigns, record.id)
    if record.alive:
        raise Unavailable(
            "CAMPAIGN_FAILED",
            f"the campaign {record.id} has not ended after {_STOP:.0f} s",
            f"see process {record.pid}",
        )
    terminal.answer(_summary(record), as_json=as_json, text=_text(record))


def end_of(text: str) -> "datetime":
    """The time that a deadline names: after a number of seconds, minutes, hours or days, or a `Timestamp`.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    from datetime import UTC, datetime, timedelta

    from genepool_protocol.wire.documents import moment
    from genepool_protocol.wire.errors import InvalidInput

    now = datetime.now(UTC)
    if span := re.fullmatch(r"([0-9]{1,9})([smhd])", text):
        end = now + timedelta(seconds=min(int(span[1]) * _UNITS[span[2]], 10 * _LONGEST))
    else:
        try:
            end = moment(text)
        except ValueError as exc:
            raise InvalidInput(
                "OPTION_INVALID",
                f"the deadline {text[:40]!r} is no time",
                "write 90s, 30m, 12h, 7d or 2027-01-31T12:00:00Z",
            ) from exc
    if not now < end <= now + timedelta(seconds=_LONGEST):
        raise InvalidInput(
            "OPTION_INVALID",
            f"the deadline {text[:40]!r} is over, or more than a year away",
            "choose a later or nearer one",
        )
    return end


def _check(directory: Path, names: tuple[str, ...], min_sites: int) -> None:
    from genepool_protocol.wire.errors import InvalidInput, NotFound

    if names and len(names) < min_sites:
        raise InvalidInput(
            "OPTION_INVALID", f"{min_sites} contributions cannot come from {len(names)} sites", "lower --min-sites"
        )
    known = {site.name for site in _sites(directory)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotFound(
            "SITE_UNKNOWN", f"the pool has no site {unknown[0][:64]!r}", "list them with genepool-server sites"
        )


def _sites(directory: Path) -> "list[Site]":
    """The sites, as the running server knows them.

    Raises:
        Unavailable: POOL_UNREACHABLE.
    """
    from genepool_protocol.machine import operator_door
    from genepool_protocol.wire.errors import Unavailable
    from genepool_server.commands.remote_operator import RemoteOperator

    path = operator_door.running(directory)
    if path is None:
        raise Unavailable(
            "POOL_UNREACHABLE", f"no server serves {directory}", f"start it with: genepool-server serve {directory}"
        )
    with RemoteOperator(path, directory) as operator:
        return operator.sites.all()


@contextmanager
def _conductor(directory: Path, report: Path | None) -> "Iterator[Conductor]":
    """Shows on the terminal what a campaign becomes."""
    from genepool_server import config
    from genepool_server.campaign.conduct import Conductor
    from genepool_server.pool.store.folder import PoolFolder

    terminal.log_to_stderr()
    logging.getLogger().setLevel(logging.WARNING)  # flwr and httpx tell of every call
    place, settings = PoolFolder(directory.absolute()), config.load(directory)
    with terminal.board() as show:
        yield Conductor(place, settings, lambda: _sites(directory), _watch(show, report))


def _doors(directory: Path, settings: "ServerConfig", listen: str, advertise: str) -> "GateDoors":
    from genepool_server import app
    from genepool_server.campaign.stage import GateDoors
    from genepool_server.net import Address

    if settings.entrance.listen and not listen:
        told = advertise or (directory / app.ADDRESS_FILE).read_text().strip()
        return GateDoors(Address.parse(settings.entrance.gate), Address.parse(told))
    own = Address.parse(listen) if listen else Address(Address.parse(settings.listen).host, _PORT)
    return GateDoors(own, Address.parse(advertise) if advertise else None)


def _watch(show: Callable[[terminal.Rows], None], report: Path | None) -> "Callable[[CampaignRecord], None]":
    import json

    from genepool_server import durable

    def changed(record: "CampaignRecord") -> None:
        if report is not None:
            durable.write(report, json.dumps(_summary(record), indent=2).encode() + b"\n")
        show(_rows(record))

    return changed


def _campaigns(directory: Path) -> "Campaigns":
    from genepool_server import config
    from genepool_server.pool.sites.campaigns import Campaigns
    from genepool_server.pool.store.folder import PoolFolder

    config.load(directory)
    return Campaigns(PoolFolder(directory).campaigns)


def _ended(campaigns: "Campaigns", campaign: str) -> "CampaignRecord":
    import time

    deadline = time.monotonic() + _STOP
    while (record := campaigns.settle(campaigns.get(campaign))).alive and time.monotonic() < deadline:
        time.sleep(_POLL)
    return record


def _conclude(record: "CampaignRecord", report: Path | None, *, as_json: bool) -> None:
    """Say how it ended, and end so."""
    failure = _failure(record, f"see {report}" if report else f"see genepool-server campaign show {record.id}")
    if failure is None or not as_json:
        terminal.answer(_summary(record), as_json=as_json, text=_text(record))
    else:  # one JSON value, which says why, too
        said = {"error": failure.reason, "message": failure.message, "fix": failure.fix}
        terminal.answer(_summary(record) | said, as_json=True)
        raise typer.Exit(failure.exit_code)
    if failure is not None:
        raise failure
    if record.state == "stopped":
        raise KeyboardInterrupt


def _failure(record: "CampaignRecord", fix: str) -> "Unavailable | None":
    from genepool_protocol.wire.errors import Unavailable

    if record.state in ("failed", "interrupted"):
        return Unavailable("CAMPAIGN_FAILED", f"the campaign {record.id} is {record.state}: {record.note}", fix)
    if record.state == "quorum missed":
        contributed = f"{record.accepted} sites contributed, the campaign {record.id} needs {record.min_sites}"
        return Unavailable("QUORUM_MISSED", contributed, fix)
    return None


def _head(record: "CampaignRecord") -> dict[str, Any]:
    value = record.model_dump(by_alias=True, exclude={"sites", "nodes", "pid", "process", "listen", "schema_"})
    return {**value, "accepted": record.accepted}


def _summary(record: "CampaignRecord") -> dict[str, Any]:
    return {**_head(record), "sites": [site.model_dump() for site in record.sites]}


def _rows(record: "CampaignRecord") -> terminal.Rows:
    cells = [
        [site.site, site.progress, site.invitations, site.contribution_id[:12], site.reason] for site in record.sites
    ]
    where = f" at {record.address}" if record.address else ""
    title = f"campaign {record.id} is {record.state}{where}, {record.accepted} of {record.min_sites} contributions"
    title += f"; {record.note}" if record.note else ""
    return terminal.Rows([column.replace("_", " ") for column in _COLUMNS], cells, title)


def _text(record: "CampaignRecord") -> str:
    return f"campaign {record.id} is {record.state}: {record.accepted} sites contributed, it needs {record.min_sites}"
