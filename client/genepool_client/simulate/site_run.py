"""The sites' half of a simulation: join the pool, and contribute when Flower invites them."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from genepool_client.simulate.fleet import Fleet
from genepool_client.simulate.partition import SiteData
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.simulate.report import SiteReport
from genepool_client.simulate.watch import Clock
from genepool_client.site import credentials, enrolment, outbox, steps
from genepool_client.site.folder import SiteFolder
from genepool_client.site.outbox import Artefact
from genepool_client.transport.channel import Connection
from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput, Unavailable

_TRACES: Final = ("work/ancestry.safetensors", "work/condensed.safetensors", "outbox/*/receipt.sig")
"""What a site's folder holds after each of its steps."""

_REVIEW: Final = 120.0  # seconds that the pool's screens may take for one contribution


def join(
    clock: Clock, pool: PoolProcess, sites: Sequence[SiteData], work: Path, train_steps: int, intensity: str = ""
) -> list[Path]:
    """Every site is invited, makes its folder and key, enrols and is approved; returns the folders."""
    folders = []
    (work / "sites").mkdir()
    with clock.phase("enrolment") as progress:
        for index, site in enumerate(sites):
            folder = work / "sites" / f"site-{index:03d}"
            _join(pool, site.name, folder, data=str(site.folder), steps=train_steps, intensity=intensity)
            folders.append(folder)
            progress(index + 1, len(sites), site.name)
    return folders


def _join(
    pool: PoolProcess, name: str, folder: Path, *roles: str, data: str = "", steps: int = 0, intensity: str = ""
) -> SiteFolder:
    """The whole way from an invitation to a certificate, as a site's people and the operator walk it."""
    invite = pool.folder.with_name(f"invite-{folder.name}.json")
    pool.operate("invite", name, "--out", str(invite), *(word for role in roles for word in ("--role", role)))
    site = enrolment.init(folder, enrolment.Setup(invite=invite, data=data, steps=steps, intensity=intensity))
    with Connection(site.config.anchors, trust=site.trust) as connection:
        enrolled = enrolment.enrol(site, connection)
    pool.operate("approve", name, "--fingerprint", enrolled.fingerprint)
    credentials.ready(site)
    return site


def contribute(clock: Clock, pool: PoolProcess, folders: Sequence[Path], work: Path, parallel: int) -> None:
    """Flower invites every site once; each trains, condenses, signs and submits.

    Raises:
        Unavailable: SIMULATION_FAILED, a site did not contribute.
    """
    outcome = work / "campaign.json"
    (work / "flower").mkdir()
    auditor = _join(pool, "campaign", work / "campaign", "auditor")
    env = {
        variables.POOL_ANCHORS.name: str(pool.folder / "pool.json"),
        variables.CAMPAIGN_IDENTITY.name: str(auditor.path / "keys" / "tls.pem"),
        variables.CAMPAIGN_REPORT.name: str(outcome),
    }
    fleet = Fleet(work / "flower", work / "sites", env)
    with clock.phase("sites") as progress:

        def look() -> None:
            steps_taken = [steps_done(folder) for folder in folders]
            finished = steps_taken.count(len(_TRACES))
            progress(sum(steps_taken), len(_TRACES) * len(folders), f"{finished} of {len(folders)} sites contributed")

        try:
            fleet.run(app_folder(), len(folders), parallel, {"min-nodes": len(folders)}, look)
            look()
        finally:
            fleet.stop()
    late = [folder.name for folder in folders if steps_done(folder) < len(_TRACES)]
    if late:
        raise Unavailable(
            "SIMULATION_FAILED", f"{len(late)} sites did not contribute: {', '.join(late[:5])}", f"see {outcome}"
        )


def settled(clock: Clock, pool: PoolProcess, contributions: int) -> dict[str, str]:
    """Wait until the pool has said of every contribution whether it becomes active.

    Returns:
        Why, by the id of each that did not.

    Raises:
        Unavailable: SIMULATION_FAILED, none became active, or the pool says nothing.
    """
    deadline = time.monotonic() + _REVIEW * contributions
    with clock.phase("screening") as progress:
        while True:
            rows = [pool.operate("show", row["contribution_id"]) for row in pool.operate("contributions")]
            open_ = [
                contribution
                for contribution in rows
                if contribution["state"] == "QUARANTINED" and not contribution["note"]
            ]
            progress(len(rows) - len(open_), contributions, "")
            if not open_:
                break
            if time.monotonic() > deadline:
                raise Unavailable(
                    "SIMULATION_FAILED", f"{len(open_)} contributions are still under review", "see pool.log"
                )
            time.sleep(1)
    kept_out = {
        contribution["contribution_id"]: contribution["note"]
        for contribution in rows
        if contribution["state"] != "ACTIVE"
    }
    if len(kept_out) == len(rows):
        raise Unavailable("SIMULATION_FAILED", "no contribution became active", "; ".join(sorted(kept_out.values())))
    return kept_out


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


def learngenes(folders: Sequence[Path]) -> Mapping[str, Path]:
    """The learngene file that each contribution consists of, by contribution id, as the sites keep them."""
    return {artefact.contribution_id: artefact.weights for artefact in map(_last, folders)}


def _last(folder: Path) -> Artefact:
    return outbox.artefacts(SiteFolder(folder))[-1]


def site_report(folder: Path, kept_out: Mapping[str, str]) -> SiteReport:
    """One site's line of the report."""
    site = SiteFolder(folder)
    artefact, (condensed, _) = _last(folder), steps.condensed(site)
    return SiteReport(
        name=site.config.name,
        images=condensed.ancestry.images,
        classes=condensed.ancestry.classes,
        accuracy=condensed.ancestry.accuracy,
        held_out=condensed.ancestry.held_out,
        agreement=condensed.agreement,
        learngene_bytes=artefact.weights.stat().st_size,
        ancestry_bytes=condensed.ancestry.size_bytes,
        contribution_id=artefact.contribution_id,
        kept_out=kept_out.get(artefact.contribution_id, ""),
    )
