"""The campaigns of a pool: what each was asked for and became, and the nodes that sites have entered into it.

    campaigns/ID.json        one campaign, written by the process that runs it
    campaigns/ID/nodes/SITE  the key of a site's node, written when the site enters

The process that runs a campaign and the pool's server meet in these files and nowhere else.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from genepool_protocol.machine.processes import beginning
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.documents import Document, Name, Sha256, Timestamp, first_problem, moment, stamp
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, Refused, StorageError
from genepool_server import durable

_log = logging.getLogger(__name__)

CampaignState = Literal["starting", "running", "interrupted", "completed", "quorum missed", "failed", "stopped"]
SiteProgress = Literal["absent", "waiting", "invited", "accepted", "refused", "failed", "silent"]
"""Its node has not come; it is about to be invited; it was; the pool confirms its receipt, or does not; it answered an
error; it had no answer when the campaign ended."""

OPEN: Final[frozenset[CampaignState]] = frozenset({"starting", "running"})
"""States of a campaign that a process runs."""

RESUMABLE: Final[frozenset[CampaignState]] = frozenset({"interrupted", "failed", "stopped"})
"""States in which a campaign can be gone on with, until its deadline."""

_MAX_BYTES: Final = 16 << 20  # of a record: some hundred bytes for each site


class SiteRecord(Document):
    """What became of one site.

    Attributes:
        site: its name.
        progress: see `SiteProgress`.
        reason: why, where it is not accepted.
        invitations: how often it was invited.
        contribution_id: of the receipt that the pool confirmed; empty before.
        sha256: of its learngene.
    """

    site: Name
    progress: SiteProgress = "absent"
    reason: str = ""
    invitations: int = 0
    contribution_id: str = ""
    sha256: str = ""


class CampaignRecord(Document):
    """One campaign.

    Attributes:
        id: eight hex digits.
        state: see `CampaignState`.
        note: why it failed, was stopped or was interrupted; while it runs: why Flower was started anew.
        pid: of the process that runs it, or ran it.
        process: when that process began, see `processes.beginning`.
        address: HOST:PORT of its gate, as sites are told; empty while it starts.
        listen: HOST:PORT where the gate listens; empty before it did.
        restarts: how often Flower was started anew.
        bundle: digest of the app bundle.
        min_sites: contributions that it needs.
        chosen: names of the sites that are invited; empty: every active contributor.
        began: when.
        deadline: until when sites are invited.
        ended: when; empty while it runs, or can be gone on with after an interruption.
        nodes: keyid of the node that is registered for a site.
        sites: what became of each.
    """

    schema_: Literal["genepool.campaign/v1"] = Field(default="genepool.campaign/v1", alias="schema")
    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    state: CampaignState
    note: str = ""
    pid: int
    process: str
    address: str = ""
    listen: str = ""
    restarts: int = Field(default=0, ge=0)
    bundle: Sha256
    min_sites: int = Field(ge=1)
    chosen: list[Name] = Field(default_factory=list)
    began: Timestamp
    deadline: Timestamp
    ended: str = ""
    nodes: dict[Name, str] = Field(default_factory=dict)
    sites: list[SiteRecord] = Field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Sites whose receipt the pool confirmed."""
        return sum(site.progress == "accepted" for site in self.sites)

    @property
    def verdict(self) -> Literal["completed", "quorum missed"]:
        """How it ends with what it has now."""
        return "completed" if self.accepted >= self.min_sites else "quorum missed"

    @property
    def alive(self) -> bool:
        """Whether the process that runs it is there."""
        return self.state in OPEN and beginning(self.pid) == self.process != ""

    @property
    def waits(self) -> bool:
        """Whether it was interrupted, and can be gone on with."""
        gone = self.state == "interrupted" or (self.state in OPEN and not self.alive)
        return gone and datetime.now(UTC) < moment(self.deadline)

    def invites(self, site: str) -> bool:
        """Whether it is for this site."""
        return not self.chosen or site in self.chosen


class Campaigns:
    """The campaigns in a pool's folder.

    Args:
        folder: of the campaigns; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, record: CampaignRecord) -> Path:
        """Keep a new campaign; answers the folder of its files, mode 0700.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        for path in (self.folder, self.files(record.id), self.node_keys(record.id)):
            durable.mkdir(path)
        self.write(record)
        return self.files(record.id)

    def files(self, campaign: str) -> Path:
        """Where a campaign's logs and nodes are."""
        return self.folder / campaign

    def write(self, record: CampaignRecord) -> None:
        """Keep what is known of a campaign now.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        raw = record.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
        durable.write(self.path(record.id), raw)

    def path(self, campaign: str) -> Path:
        """The file of a campaign's record."""
        return self.folder / f"{campaign}.json"

    def paths(self) -> list[Path]:
        """The files of all records, damaged ones too."""
        return sorted(self.folder.glob("[0-9a-f]*.json"))

    def each(self) -> Iterator[CampaignRecord]:
        """Every campaign, in the order of their beginnings, but those whose record cannot be read: see `damaged`."""
        records = [record for path in self.paths() if isinstance(record := _look(path), CampaignRecord)]
        yield from sorted(records, key=lambda record: (record.began, record.id))

    def damaged(self) -> Iterator[tuple[Path, StorageError]]:
        """The file of each record that cannot be read, and LEDGER_INCONSISTENT with what to do about it."""
        for path in self.paths():
            if isinstance(error := _look(path), StorageError):
                yield path, error

    def get(self, prefix: str) -> CampaignRecord:
        """The one campaign whose id starts so.

        Raises:
            NotFound: CAMPAIGN_UNKNOWN.
            InvalidInput: OPTION_INVALID, several do.
            StorageError: as `read`.
        """
        matches = [path for path in self.paths() if prefix and path.stem.startswith(prefix)]
        if not matches:
            raise NotFound(
                "CAMPAIGN_UNKNOWN",
                f"the pool has no campaign {prefix[:16]!r}",
                "list them with genepool-server campaign list",
            )
        if len(matches) > 1:
            raise InvalidInput(
                "OPTION_INVALID", f"{len(matches)} campaigns start with {prefix!r}", "give more characters of the id"
            )
        return _read(matches[0])

    def read(self, campaign: str) -> CampaignRecord:
        """The campaign of exactly this id, whatever lies beside it.

        Raises:
            StorageError: LEDGER_INCONSISTENT, its record cannot be read.
        """
        return _read(self.path(campaign))

    def running(self) -> CampaignRecord | None:
        """The campaign that a process runs at this moment."""
        return next((record for record in self.each() if record.alive), None)

    def current(self, site: str) -> CampaignRecord | None:
        """The campaign that a site is invited to: the one that runs, else the last one that was interrupted."""
        records = [record for record in self.each() if record.invites(site) and (record.alive or record.waits)]
        return max(records, key=lambda record: (record.alive, record.began), default=None)

    def settle(self, record: CampaignRecord) -> CampaignRecord:
        """The record as it is; one whose process has gone is interrupted until its deadline, and then over.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; as `read`.
        """
        if _settled(record) == record:
            return record
        record = self.read(record.id)  # it may have ended since
        settled = _settled(record)
        if settled != record:
            self.write(settled)
        return settled

    def give_up(self, record: CampaignRecord) -> CampaignRecord:
        """Close a campaign that was interrupted: its sites need not wait for it.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        changes = {"state": "stopped", "note": "stopped by the operator", "ended": stamp(datetime.now(UTC))}
        record = record.model_copy(update=changes)
        self.write(record)
        return record

    def enter(self, site: str, key: VerifyingKey) -> CampaignRecord:
        """Enter a site's node into the campaign; the process that runs it, or goes on with it, registers the node.

        Args:
            site: an active contributor.
            key: of its node; one that was entered before gives way.

        Raises:
            NotFound: CAMPAIGN_UNKNOWN, none runs that invites this site.
            Refused: KEY_IN_USE, another site's node has this key.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        record = self.current(site)
        if record is None:
            raise NotFound(
                "CAMPAIGN_UNKNOWN",
                f"no campaign invites {site} now",
                "wait for the operator's word; without a campaign: genepool site contribute DIR",
            )
        entered = self.nodes(record.id)
        if any(name != site and other == key for name, other in entered.items()):
            raise Refused("KEY_IN_USE", "the node's key is another site's", "make a key for each site")
        if entered.get(site) != key:
            durable.write(self.node_keys(record.id) / site, key.pem.encode())
        return record

    def nodes(self, campaign: str) -> Mapping[str, VerifyingKey]:
        """The key of each site's node that was entered; one that is damaged is none, and its site enters it again."""
        keys = {}
        for path in self.node_paths(campaign):
            try:
                keys[path.name] = VerifyingKey.from_pem(path.read_bytes())
            except (GenepoolError, OSError) as exc:
                _log.warning("%s is no node's key: %s", path, exc)
        return keys

    def node_paths(self, campaign: str) -> list[Path]:
        """The files with the keys of nodes, each with its site's name."""
        folder = self.node_keys(campaign)
        return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []

    def node_keys(self, campaign: str) -> Path:
        """The folder of the nodes' keys."""
        return self.files(campaign) / "nodes"


def _settled(record: CampaignRecord) -> CampaignRecord:
    if record.alive or record.state not in (*OPEN, "interrupted"):
        return record
    if record.waits:
        note = f"the process {record.pid} that ran it ended without a word"
        changes = {} if record.state == "interrupted" else {"state": "interrupted", "note": note, "nodes": {}}
    else:
        changes = {"state": record.verdict, "ended": record.deadline, "nodes": {}}
    return record.model_copy(update=changes)


def this_process() -> tuple[int, str]:
    """Number and beginning of the process that calls."""
    return os.getpid(), beginning(os.getpid())


def _read(path: Path) -> CampaignRecord:
    try:
        raw = strict_json.loads(path.read_bytes(), max_bytes=_MAX_BYTES, what=str(path))
        record = CampaignRecord.model_validate(raw)
        if record.id == path.stem:
            return record
        why = f"it is of the campaign {record.id}"
    except ValidationError as exc:
        why = first_problem(exc)
    except (InvalidInput, OSError) as exc:
        why = str(exc)
    raise StorageError(
        "LEDGER_INCONSISTENT",
        f"{path} is no campaign's record: {why}",
        "put it back from a backup, or move it away: the pool and other campaigns do not need it",
    )


def _look(path: Path) -> CampaignRecord | StorageError:
    try:
        return _read(path)
    except StorageError as exc:
        return exc
