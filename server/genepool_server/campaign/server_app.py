"""The ServerApp: invites sites, collects receipts, and believes only what the pool confirms.

Named by the app bundle as `genepool_server.campaign.server_app:app`. Its process is Flower's; it learns where the pool
is from GENEPOOL_POOL_ANCHORS (path of pool.json), asks it as the auditor whose TLS key and certificate are in the file
GENEPOOL_CAMPAIGN_IDENTITY (keys/tls.pem of a site folder), and writes the run report to GENEPOOL_CAMPAIGN_REPORT. Then
every site is invited once.

`genepool-server campaign start` sets GENEPOOL_CAMPAIGN_POOL (the pool's folder), GENEPOOL_CAMPAIGN (an id) and
GENEPOOL_CAMPAIGN_ATTEMPT (how often Flower was started before) instead: then the pool is asked as its operator, and
sites that have not contributed are invited until the campaign's deadline.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flwr.app import ConfigRecord, Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from genepool_protocol.machine import variables
from genepool_protocol.trust.anchors import Anchors, read_anchors
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.wire.documents import moment
from genepool_protocol.wire.errors import InvalidInput, Unavailable
from genepool_server.campaign.confirm import PoolWitness
from genepool_server.campaign.invitations import CampaignPlan, invite, wait_for_sites
from genepool_server.campaign.operator_witness import OperatorWitness
from genepool_server.campaign.pursuit import ProgressFile, Pursuit
from genepool_server.campaign.report import RunReport
from genepool_server.pool.sites.campaigns import Campaigns, SiteRecord
from genepool_server.pool.store.folder import PoolFolder

_log = logging.getLogger(__name__)

ANCHORS: Final = variables.POOL_ANCHORS.name
IDENTITY: Final = variables.CAMPAIGN_IDENTITY.name
REPORT: Final = variables.CAMPAIGN_REPORT.name
POOL: Final = variables.CAMPAIGN_POOL.name
CAMPAIGN: Final = variables.CAMPAIGN.name
ATTEMPT: Final = variables.CAMPAIGN_ATTEMPT.name

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One campaign.

    Raises:
        InvalidInput: CONFIG_INVALID or PATH_MISSING, before anybody is invited.
        Unavailable: QUORUM_MISSED, at the end, after the report was written.
    """
    if POOL in os.environ:
        pursue(grid, PoolFolder(Path(os.environ[POOL])), os.environ[CAMPAIGN], int(os.environ[ATTEMPT]))
        return
    anchors, identity, plan = _anchors(), _identity(), CampaignPlan.of(context.run_config)
    path = os.environ.get(REPORT)
    report = RunReport(context.run_id, Path(path) if path else None)
    nodes = wait_for_sites(grid, plan)
    report.begin(nodes, plan)
    if len(nodes) >= plan.min_nodes:
        with PoolWitness(anchors, identity) as witness:
            for outcome in invite(grid, nodes, RecordDict({"config": ConfigRecord()}), plan, witness.confirm):
                _log.info("site %s: %s %s", outcome.name or outcome.node, outcome.result, outcome.reason)
                report.add(outcome)
    report.end()
    if report.accepted < report.quorum:
        raise Unavailable(
            "QUORUM_MISSED",
            f"{report.accepted} sites contributed, the campaign needs {report.quorum}",
            f"see the run report {path}" if path else f"set {REPORT} to get a run report",
        )


def pursue(grid: Grid, pool: PoolFolder, campaign: str, attempt: int) -> None:
    """Invite the sites of a recorded campaign until each has contributed, or its deadline is over.

    Args:
        grid: Flower's.
        pool: whose campaign it is.
        campaign: its id.
        attempt: how often Flower was started for it before.

    Raises:
        StorageError: LEDGER_INCONSISTENT, its record cannot be read.
    """
    campaigns = Campaigns(pool.campaigns)
    record, progress = campaigns.read(campaign), ProgressFile.of(campaigns.files(campaign), attempt)
    told: list[SiteRecord] = []
    progress.tell(told)

    def tell(sites: Sequence[SiteRecord]) -> None:
        told[:] = sites
        progress.tell(sites)

    witness = OperatorWitness(pool.root)
    # whom the campaign is for may change while it runs: the process that runs it keeps the list
    Pursuit(grid, witness.confirm, tell, record.sites).until(
        moment(record.deadline), lambda: {site.site for site in campaigns.read(campaign).sites}
    )
    progress.tell(told, ended=True)


def _anchors() -> Anchors:
    return read_anchors(_path(ANCHORS, "start the SuperLink with the path of the pool's pool.json in it"))


def _identity() -> TlsIdentity:
    return TlsIdentity.read(_path(IDENTITY, "enrol an auditor, and start the SuperLink with its keys/tls.pem in it"))


def _path(name: str, fix: str) -> Path:
    path = os.environ.get(name)
    if not path:
        raise InvalidInput("CONFIG_INVALID", f"{name} is not set", fix)
    return Path(path)
