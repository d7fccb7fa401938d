"""The sites' half of a simulation: join the pool, and contribute when Flower invites them."""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from genepool_client.simulate.fleet import Fleet
from genepool_client.simulate.page.report import SiteReport
from genepool_client.simulate.partition import SiteData
from genepool_client.simulate.pool_operator import ListedContribution, PoolOperator
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.simulate.roles.network import Network
from genepool_client.simulate.roles.players import Player, Players, Story
from genepool_client.simulate.roles.script import Role
from genepool_client.simulate.watch import Clock
from genepool_client.site import credentials, enrolment, outbox, steps
from genepool_client.site.folder import SiteFolder
from genepool_client.site.outbox import Artefact
from genepool_client.transport.channel import Connection
from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput, Unavailable

_TRACES: Final = ("work/ancestry.safetensors", "work/condensed.safetensors", "outbox/*/receipt.sig")
"""What a site's folder holds after each of its steps."""

_LOOK: Final = 0.5  # seconds between two looks at the sites with roles
_REVIEW: Final = 120.0  # seconds that the pool's screens may take for one contribution


@dataclass(frozen=True, slots=True)
class JoinedSite:
    """A site that has joined the pool; `network` is its own, where its role needs one."""

    name: str
    folder: Path
    role: Role | None = None
    network: Network | None = None


def join(
    clock: Clock,
    operator: PoolOperator,
    sites: Sequence[SiteData],
    roles: Mapping[int, Role],
    networks: Mapping[int, Network],
    work: Path,
    train_steps: int,
    intensity: str = "",
) -> list[JoinedSite]:
    """Every site is invited, makes its folder and key, enrols and is approved; returns them in their order.

    Flower finds its sites by number, so the folders of honest ones are numbered on their own.
    """
    (work / "sites").mkdir()
    joined: list[JoinedSite] = []
    with clock.phase("enrolment") as progress:
        for place, data in enumerate(sites):
            honest = sum(site.role is None for site in joined)
            role, network = roles.get(place), networks.get(place)
            folder = work / "sites" / (f"role-{place:03d}" if role else f"site-{honest:03d}")
            address = network.address if network else ""
            given = {"data": str(data.folder), "steps": train_steps, "intensity": intensity}
            join_one(operator, data.name, folder, pool=address, **given)
            joined.append(JoinedSite(data.name, folder, role, network))
            progress(place + 1, len(sites), data.name)
    return joined


def join_one(operator: PoolOperator, name: str, folder: Path, *roles: str, pool: str = "", **given: Any) -> SiteFolder:
    """The whole way from an invitation to a certificate, as a site's people and the operator walk it."""
    invite = operator.invite(name, folder.with_name(f"invite-{folder.name}.json"), roles)
    site = enrolment.init(folder, enrolment.Setup(invite=invite, pool=pool, **given))
    with Connection(site.config.anchors, trust=site.trust) as connection:
        enrolled = enrolment.enrol(site, connection)
    operator.approve(name, enrolled.fingerprint)
    credentials.ready(site)
    return site


def contribute(
    clock: Clock, pool: PoolProcess, operator: PoolOperator, sites: Sequence[JoinedSite], work: Path, parallel: int
) -> dict[int, Story]:
    """Flower invites every honest site once, and sites with roles play them; each trains, condenses, signs and submits.

    Returns:
        What each site with a role did, by its place.

    Raises:
        Unavailable: SIMULATION_FAILED, an honest site did not contribute.
    """
    honest = [site.folder for site in sites if site.role is None]
    players = {
        place: Player(site.folder, site.role, site.network, operator)
        for place, site in enumerate(sites)
        if site.role is not None
    }
    with clock.phase("sites") as progress, Players(players, parallel) as playing:

        def look() -> None:
            playing.look()
            steps_taken = [steps_done(folder) for folder in honest]
            finished = steps_taken.count(len(_TRACES))
            ended = len(players) - playing.left
            note = f"{finished} of {len(honest)} sites contributed" + (
                f", {ended} of {len(players)} roles played" if players else ""
            )
            progress(sum(steps_taken) + ended, len(_TRACES) * len(honest) + len(players), note)

        if honest:
            _campaign(pool, operator, honest, work, parallel, look)
        while playing.left:
            look()
            time.sleep(_LOOK)
        look()
        return playing.stories()


def _campaign(
    pool: PoolProcess,
    operator: PoolOperator,
    folders: Sequence[Path],
    work: Path,
    parallel: int,
    look: Callable[[], None],
) -> None:
    outcome = work / "campaign.json"
    (work / "flower").mkdir()
    auditor = join_one(operator, "campaign", work / "campaign", "auditor")
    env = {
        variables.POOL_ANCHORS.name: str(pool.folder / "pool.json"),
        variables.CAMPAIGN_IDENTITY.name: str(auditor.path / "keys" / "tls.pem"),
        variables.CAMPAIGN_REPORT.name: str(outcome),
    }
    fleet = Fleet(work / "flower", work / "sites", env)
    try:
        fleet.run(app_folder(), len(folders), parallel, {"min-nodes": len(folders)}, look)
    finally:
        fleet.stop()
    late = [folder.name for folder in folders if steps_done(folder) < len(_TRACES)]
    if late:
        raise Unavailable(
            "SIMULATION_FAILED", f"{len(late)} sites did not contribute: {', '.join(late[:5])}", f"see {outcome}"
        )


def settled(clock: Clock, operator: PoolOperator) -> list[ListedContribution]:
    """Every contribution, once the pool has said of each whether it becomes active.

    Raises:
        Unavailable: SIMULATION_FAILED, none became active, or the pool says nothing.
    """
    rows = operator.contributions()
    deadline = time.monotonic() + _REVIEW * len(rows)
    with clock.phase("screening") as progress:
        while True:
            rows = operator.contributions()
            open_ = sum(contribution.under_review for contribution in rows)
            progress(len(rows) - open_, len(rows), "")
            if not open_:
                break
            if time.monotonic() > deadline:
                raise Unavailable("SIMULATION_FAILED", f"{open_} contributions are still under review", "see pool.log")
            time.sleep(1)
    if all(contribution.state != "ACTIVE" for contribution in rows):
        notes = sorted({contribution.note for contribution in rows})
        raise Unavailable("SIMULATION_FAILED", "no contribution became active", "; ".join(notes))
    return rows


def app_folder() -> Path:
    """The code-free Flower app, which lies in the server's package.

    Raises:
        InvalidInput: DEPENDENCY_MISSING.
    """
    spec = importlib.util.find_spec("genepool_server")
    if spec is None or spec.origin is None:
        raise InvalidInput("DEPENDENCY_MISSING", "the pool server is not installed", "pip install 'genepool[all]'")
    return Path(spec.origin).parent / "campaign" / "app"


def steps_done(folder: Path) -> int:
    """How many of its steps (train, condense, submit) a site has behind it."""
    return sum(any(folder.glob(pattern)) for pattern in _TRACES)


def learngenes(sites: Sequence[JoinedSite], listed: Sequence[ListedContribution]) -> Mapping[str, Path]:
    """The learngene file that each active contribution consists of, by contribution id, as the sites keep them."""
    active = {contribution.contribution_id for contribution in listed if contribution.state == "ACTIVE"}
    artefacts = [artefact for site in sites for artefact in outbox.artefacts(SiteFolder(site.folder))]
    ids = {artefact.contribution_id: artefact.weights for artefact in artefacts if artefact.received}
    return {name: path for name, path in ids.items() if name in active}


def site_report(joined: JoinedSite, listed: Sequence[ListedContribution], story: Story | None) -> SiteReport:
    """One site's line of the report."""
    site = SiteFolder(joined.folder)
    trained, condensed = steps.finished(site)
    received = [artefact for artefact in outbox.artefacts(site) if artefact.received]
    last = received[-1] if received else None
    row = next((row for row in listed if last and row.contribution_id == last.contribution_id), None)
    return SiteReport(
        name=joined.name,
        images=trained.images if trained else 0,
        classes=trained.classes if trained else 0,
        accuracy=trained.accuracy if trained else None,
        held_out=trained.held_out if trained else 0,
        agreement=condensed.agreement if condensed else None,
        learngene_bytes=last.weights.stat().st_size if last else 0,
        ancestry_bytes=trained.size_bytes if trained else 0,
        contribution_id=last.contribution_id if last else "",
        state=row.state if row else "",
        kept_out=row.note if row and row.state != "ACTIVE" else "",
        role=str(story.role) if story else "honest",
        outcome=story.outcome if story else "contributed",
        events=story.events if story else [],
        starts=story.starts if story else 1,
        seconds=story.seconds if story else _seconds(site, last),
        cpu_seconds=story.cpu_seconds if story else None,
    )


def _seconds(site: SiteFolder, last: Artefact | None) -> float:
    """From the moment that Flower's process took the folder until the receipt lay in it."""
    begun = (site.path / ".lock").stat().st_mtime
    return max(0.0, (last.path / outbox.RECEIPT_FILE).stat().st_mtime - begun) if last else 0.0
