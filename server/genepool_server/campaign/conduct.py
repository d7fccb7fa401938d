"""Running one campaign from its first process to its last word.

1. record it, so that the pool's server can tell sites of it
2. start a SuperLink on loopback and the gate before it
3. start the run, whose ServerApp invites sites
4. until that ends: register the nodes of active sites, take back those of others, keep the record up to date
5. end every process, and close the record, whatever has happened
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from typing import Any, Final

from genepool_protocol.machine.launching import no_core_dumps
from genepool_protocol.wire.documents import moment, stamp
from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server import durable
from genepool_server.campaign import fab
from genepool_server.campaign.pursuit import PROGRESS_FILE, ProgressFile
from genepool_server.campaign.roll import Roll
from genepool_server.campaign.stage import GateDoors, Stage
from genepool_server.config import ServerConfig
from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns, SiteRecord, this_process
from genepool_server.pool.store.folder import FolderLock, PoolFolder
from genepool_server.records import Site

_POLL: Final = 0.5  # seconds
_POOL: Final = 4  # polls between two questions to the pool
_FLOWER: Final = 20  # polls between two questions to Flower, which writes each of them into its log
_GRACE: Final = 30.0  # seconds that the ServerApp has to end after the deadline


@dataclass(frozen=True, slots=True)
class Terms:
    """What a campaign is asked for.

    Attributes:
        min_sites: contributions that it needs.
        deadline: until when sites are invited.
        chosen: names of the sites; empty: every active contributor.
    """

    min_sites: int
    deadline: datetime
    chosen: tuple[str, ...] = ()


class Conductor:
    """Runs one campaign. For one thread.

    Args:
        place: the pool, whose server runs.
        config: its settings.
        sites: asks for its sites.
        watch: told the record after every change.
    """

    def __init__(
        self,
        place: PoolFolder,
        config: ServerConfig,
        sites: Callable[[], Iterable[Site]],
        watch: Callable[[CampaignRecord], None],
    ) -> None:
        self._place, self._config, self._sites, self._watch = place, config, sites, watch
        self._campaigns = Campaigns(place.campaigns)

    def run(self, terms: Terms, doors: GateDoors) -> CampaignRecord:
        """Run it until it has ended, however it ends: the record says how. SIGTERM and Ctrl-C stop it.

        Raises:
            Unavailable: FOLDER_IN_USE, another campaign of the pool runs.
            VersionMismatch: API_VERSION.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        no_core_dumps()
        durable.mkdir(self._place.campaigns)
        with self._alone():
            bundle = fab.build()
            self._record = _new(terms, fab.digest_of(bundle))
            files = self._campaigns.create(self._record)
            self._watch(self._record)
            self._progress = ProgressFile(files / PROGRESS_FILE)
            try:
                with Stage(self._place, self._config, self._record.id, files, doors, terms.deadline) as stage:
                    self._follow(stage, bundle)
            except GenepoolError as exc:
                return self._end("failed", exc.diagnostics())
            except KeyboardInterrupt:
                return self._end("stopped", "stopped by the operator")
            except BaseException as exc:
                self._end("failed", f"a defect: {type(exc).__name__}")
                raise
            return self._end("", "")

    def _alone(self) -> FolderLock:
        try:
            return FolderLock(self._place.campaigns / "lock")
        except Unavailable as exc:
            running = self._campaigns.running()
            raise Unavailable(
                "FOLDER_IN_USE",
                f"a campaign of this pool runs{f': {running.id}' if running else ''}",
                "wait for its end, or end it with genepool-server campaign stop ID",
            ) from exc

    def _follow(self, stage: Stage, bundle: bytes) -> None:
        roll = Roll(self._sites, lambda: self._campaigns.nodes(self._record.id))
        roll.ask()
        self._change(state="running", address=str(stage.address), sites=roll.lines(self._record, []))
        run = stage.control.start(bundle)
        for tick in count():
            stage.check()
            if tick % _POOL == 0:
                roll.ask()
            roll.register(self._record, stage.control)
            # asked before what the ServerApp told is read
            over = tick % _FLOWER == 0 and stage.control.state(run).startswith("finished")
            told, ended = self._progress.read()
            self._change(sites=roll.lines(self._record, told), nodes=roll.nodes)
            if ended:
                return
            if over:
                raise stage.failed("the ServerApp ended too early", stage.control.account(run))
            if time.time() > moment(self._record.deadline).timestamp() + _GRACE:
                raise stage.failed("the ServerApp does not end")
            time.sleep(_POLL)

    def _change(self, **values: Any) -> None:
        changed = self._record.model_copy(update=values)
        if changed != self._record:
            self._record = changed
            self._campaigns.write(changed)
            self._watch(changed)

    def _end(self, state: str, note: str) -> CampaignRecord:
        """Close the record; an empty state: by the quorum."""
        told = {site.site: site for site in self._progress.read()[0]}
        sites = [_last_word(told.get(site.site, site)) for site in self._record.sites]
        self._record = self._record.model_copy(update={"sites": sites})
        reached = self._record.accepted >= self._record.min_sites
        state = state or ("completed" if reached else "quorum missed")
        self._change(state=state, note=note, ended=stamp(datetime.now(UTC)), nodes={})
        return self._record


def _new(terms: Terms, bundle: str) -> CampaignRecord:
    pid, process = this_process()
    return CampaignRecord(
        id=token_hex(4),
        state="starting",
        pid=pid,
        process=process,
        bundle=bundle,
        min_sites=terms.min_sites,
        chosen=sorted(terms.chosen),
        began=stamp(datetime.now(UTC)),
        deadline=stamp(terms.deadline),
    )


def _last_word(site: SiteRecord) -> SiteRecord:
    if site.progress not in ("waiting", "invited"):
        return site
    return site.model_copy(update={"progress": "silent", "reason": site.reason or "no answer in time"})
