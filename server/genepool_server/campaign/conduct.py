"""Running one campaign from its first process to its last word.

1. record it, so that the pool's server can tell sites of it
2. start a SuperLink on loopback and the gate before it
3. start the run, whose ServerApp invites the sites that have not contributed
4. until that ends: register the nodes of active sites, take back those of others, keep the record up to date
5. when SuperLink or ServerApp end before: start the SuperLink anew, with what it knew, and go on with 3
6. end every process, and close the record, whatever has happened

A campaign whose own process was killed is gone on with from its record, at 2.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

from genepool_protocol.machine.launching import no_core_dumps
from genepool_protocol.wire.documents import moment, stamp
from genepool_protocol.wire.errors import GenepoolError, Refused, Unavailable
from genepool_server import durable
from genepool_server.campaign import fab
from genepool_server.campaign.pursuit import ProgressFile
from genepool_server.campaign.roll import Roll
from genepool_server.campaign.stage import KNOWN, GateDoors, Stage
from genepool_server.config import ServerConfig
from genepool_server.pool.sites.campaigns import (
    RESUMABLE,
    CampaignRecord,
    Campaigns,
    CampaignState,
    SiteRecord,
    this_process,
)
from genepool_server.pool.store.folder import FolderLock, PoolFolder
from genepool_server.records import Site

_POLL: Final = 0.5  # seconds
_POOL: Final = 4  # polls between two questions to the pool
_FLOWER: Final = 20  # polls between two questions to Flower, which writes each of them into its log
_GRACE: Final = 30.0  # seconds that the ServerApp has to end after the deadline
_FIRST_PAUSE: Final = 1.0  # seconds before Flower is started anew
_LONGEST_PAUSE: Final = 60.0  # seconds
_LASTED: Final = 120.0  # seconds after which an attempt is no failed start


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
            record = _new(terms, fab.digest_of(bundle))
            self._campaigns.create(record)
            return self._conduct(record, doors, bundle, "failed")

    def resume(self, campaign: str, doors: GateDoors) -> CampaignRecord:
        """Go on with a campaign that was interrupted, failed or was stopped; the rest as `run`.

        Raises:
            NotFound: CAMPAIGN_UNKNOWN.
            Refused: STATE_TRANSITION, it is over, or began with another app bundle.
            Unavailable: FOLDER_IN_USE, it runs, or another campaign of the pool does.
            VersionMismatch: API_VERSION.
            StorageError: LEDGER_INCONSISTENT, its record cannot be read; DISK_FULL or DISK_FAILED.
        """
        no_core_dumps()
        with self._alone():
            record, bundle = self._campaigns.settle(self._campaigns.get(campaign)), fab.build()
            _require_resumable(record, fab.digest_of(bundle))
            return self._conduct(_again(record), doors, bundle, "interrupted")

    def _conduct(
        self, record: CampaignRecord, doors: GateDoors, bundle: bytes, unstarted: Literal["failed", "interrupted"]
    ) -> CampaignRecord:
        # `unstarted`: what it is when it does not get as far as running
        self._record, files = record, self._campaigns.files(record.id)
        self._progress = ProgressFile.of(files, record.restarts)
        self._campaigns.write(record)
        self._watch(record)
        try:
            with Stage(self._place, self._config, record, files, doors) as stage:
                self._follow(stage, files, bundle)
        except GenepoolError as exc:
            return self._end("failed" if self._record.state == "running" else unstarted, exc.diagnostics())
        except KeyboardInterrupt:
            return self._end("stopped", "stopped by the operator")
        except BaseException as exc:
            self._end("failed", f"a defect: {type(exc).__name__}")
            raise
        for path in files.glob(f"{KNOWN}*"):
            path.unlink()
        return self._end(None, "")

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

    def _follow(self, stage: Stage, files: Path, bundle: bytes) -> None:
        roll, pauses = Roll(self._sites, lambda: self._campaigns.nodes(self._record.id)), Pauses()
        roll.ask()
        where = {"address": str(stage.address), "listen": str(stage.listen)}
        self._change(state="running", sites=roll.lines(self._record, []), **where)
        while True:
            pauses.begin()
            try:
                self._attempt(stage, roll, bundle)
            except _NeverBeganError:
                raise
            except Unavailable as exc:
                if not self._wait(pauses.end(), exc):
                    return
            else:
                return
            attempt = self._record.restarts + 1
            self._change(restarts=attempt, sites=roll.lines(self._record, self._progress.read()[0]))
            self._progress = ProgressFile.of(files, attempt)

    def _attempt(self, stage: Stage, roll: Roll, bundle: bytes) -> None:
        """One run of the ServerApp, to its end.

        Raises:
            Unavailable: CAMPAIGN_FAILED, a part of Flower ended too early.
        """
        if stage.attempt != self._record.restarts:
            stage.restart(self._record.restarts)
        stage.control.end_runs()
        roll.adopt(stage.control)
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
                raise self._too_early(stage.failed("the ServerApp ended too early", stage.control.account(run)))
            if self._left() < -_GRACE:
                raise stage.failed("the ServerApp does not end")
            time.sleep(_POLL)

    def _too_early(self, exc: Unavailable) -> Unavailable:
        if self._progress.begun or self._record.restarts:
            return exc
        return _NeverBeganError(exc.reason, exc.message, exc.fix)

    def _wait(self, seconds: float, exc: Unavailable) -> bool:
        """Wait before the next attempt; False: there is no time for one, and what was contributed is enough.

        Raises:
            Unavailable: the same, there is no time for another attempt.
        """
        if self._left() <= seconds:
            if self._record.accepted < self._record.min_sites:
                raise exc
            return False
        self._change(note=f"{exc.message}, at {stamp(datetime.now(UTC))}: it is started anew")
        time.sleep(seconds)
        return True

    def _left(self) -> float:
        """Seconds until the deadline."""
        return moment(self._record.deadline).timestamp() - time.time()

    def _change(self, **values: Any) -> None:
        changed = self._record.model_copy(update=values)
        if changed != self._record:
            self._record = changed
            self._campaigns.write(changed)
            self._watch(changed)

    def _end(self, state: CampaignState | None, note: str) -> CampaignRecord:
        """Close the record; no state: by the quorum."""
        told = {site.site: site for site in self._progress.read()[0]}
        sites = [_last_word(told.get(site.site, site)) for site in self._record.sites]
        self._record = self._record.model_copy(update={"sites": sites})
        ended = "" if state == "interrupted" else stamp(datetime.now(UTC))
        self._change(state=state or self._record.verdict, note=note, ended=ended, nodes={})
        return self._record


class _NeverBeganError(Unavailable):
    """The ServerApp cannot work here: that is no accident, and starting it anew is no cure."""


class Pauses:
    """How long to wait before each new attempt: twice as long as before, from the first again when one has lasted."""

    def __init__(self) -> None:
        self._next, self._began = _FIRST_PAUSE, 0.0

    def begin(self) -> None:
        """An attempt begins."""
        self._began = time.monotonic()

    def end(self) -> float:
        """An attempt ended: seconds until the next one."""
        if time.monotonic() - self._began > _LASTED:
            self._next = _FIRST_PAUSE
        pause, self._next = self._next, min(_LONGEST_PAUSE, 2 * self._next)
        return pause


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


def _again(record: CampaignRecord) -> CampaignRecord:
    pid, process = this_process()
    values = {"state": "starting", "note": "", "ended": "", "nodes": {}, "pid": pid, "process": process}
    return record.model_copy(update={**values, "restarts": record.restarts + 1})


def _require_resumable(record: CampaignRecord, bundle: str) -> None:
    if record.state not in RESUMABLE or moment(record.deadline) <= datetime.now(UTC):
        raise Refused(
            "STATE_TRANSITION",
            f"the campaign {record.id} is {record.state} and cannot be gone on with; its deadline is {record.deadline}",
            "start another one: genepool-server campaign start",
        )
    if record.bundle != bundle:
        raise Refused(
            "STATE_TRANSITION",
            f"the campaign {record.id} began with the app bundle {record.bundle}, which this genepool does not build",
            "start another one: genepool-server campaign start",
        )


def _last_word(site: SiteRecord) -> SiteRecord:
    if site.progress not in ("waiting", "invited"):
        return site
    return site.model_copy(update={"progress": "silent", "reason": site.reason or "no answer in time"})
