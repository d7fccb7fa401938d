"""Inviting with patience: every site of a campaign is invited until the pool holds its contribution, or time is over.

Inviting again costs nothing: a site that has contributed answers the receipt that it has, one that was interrupted goes
on. A site is invited again when it answered an error, when what it answered was not confirmed, and when its node was
started anew, which forgets what it was asked.
"""

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable
from genepool_server.campaign.claims import ReceiptClaim
from genepool_server.campaign.invitations import MESSAGE, Node, judge
from genepool_server.pool.sites.campaigns import SiteProgress, SiteRecord

_POLL: Final = 1.0  # seconds
_FIRST_PAUSE: Final = 5.0  # seconds after the first failure; doubled by each further one
_LONGEST_PAUSE: Final = 600.0  # seconds
_SHORTEST_LIFE: Final = 1.0  # seconds of a message that is sent just before the end


@dataclass
class _Seat:
    """One site's place.

    Attributes:
        node: of Flower.
        online: whether it is there.
        activation: since when that node is there; another one means that it was started anew.
        message: id of the invitation that is under way; empty: none.
        not_before: monotonic seconds of the next invitation.
    """

    record: SiteRecord
    node: int = 0
    online: bool = False
    activation: str = ""
    message: str = ""
    not_before: float = 0.0
    failures: int = 0


class Pursuit:
    """One campaign's invitations.

    Args:
        grid: Flower's.
        confirm: raises a GenepoolError when the pool does not hold a claim of a site.
        tell: told what became of the sites, after every change.
        before: what became of them earlier; who has contributed is not asked again.
    """

    def __init__(
        self,
        grid: Grid,
        confirm: Callable[[ReceiptClaim, str], int],
        tell: Callable[[Sequence[SiteRecord]], None],
        before: Sequence[SiteRecord] = (),
    ) -> None:
        self._grid, self._confirm, self._tell = grid, confirm, tell
        self._seats = {site.site: _Seat(site) for site in before if site.progress == "accepted"}
        self._invitations = {site.site: site.invitations for site in before}
        self._changed = False

    def until(self, deadline: datetime, invited: Callable[[], Collection[str]]) -> None:
        """Invite until every site has contributed, or the deadline is over.

        Args:
            deadline: the end.
            invited: names of the sites that belong to the campaign now.
        """
        end = time.monotonic() + deadline.timestamp() - time.time()
        while (left := end - time.monotonic()) > 0:
            names = invited()
            self._look(names)
            self._invite(left)
            self._collect()
            if self._changed:
                self._tell([seat.record for seat in self._seats.values()])
                self._changed = False
            if names and all(name in self._seats and self._settled(self._seats[name]) for name in names):
                return
            time.sleep(_POLL)

    def _look(self, names: Collection[str]) -> None:
        """Who is there, and since when."""
        for seat in self._seats.values():
            seat.online = False
        for info in self._grid.get_nodes():
            name = getattr(info, "name", "") or ""
            if name not in names:
                continue
            if name not in self._seats:
                self._seats[name] = _Seat(SiteRecord(site=name, invitations=self._invitations.get(name, 0)))
                self._note(self._seats[name], "waiting")
            seat = self._seats[name]
            seat.online = True
            if (seat.node, seat.activation) != (info.node_id, info.last_activated_at):
                if seat.message:
                    self._note(seat, "waiting", "its node was started anew")
                seat.node, seat.activation = info.node_id, info.last_activated_at
                seat.message, seat.not_before = "", 0.0

    def _invite(self, left: float) -> None:
        now = time.monotonic()
        due = [
            seat
            for seat in self._seats.values()
            if seat.online and not seat.message and not self._settled(seat) and seat.not_before <= now
        ]
        if not due:
            return
        content, life = RecordDict({"config": ConfigRecord()}), max(left, _SHORTEST_LIFE)
        messages = [Message(content, seat.node, MESSAGE, ttl=life) for seat in due]
        for seat, message_id in zip(due, self._grid.push_messages(messages), strict=True):
            if message_id:  # empty when the node has just gone
                seat.message = message_id
                self._note(seat, "invited", seat.record.reason, invitations=seat.record.invitations + 1)

    def _collect(self) -> None:
        waiting = {seat.message: (name, seat) for name, seat in self._seats.items() if seat.message}
        for reply in self._grid.pull_messages(list(waiting)) if waiting else ():
            place = waiting.pop(reply.metadata.reply_to_message_id, None)
            if place is not None:
                self._judge(*place, reply)

    def _judge(self, name: str, seat: _Seat, reply: Message) -> None:
        outcome = judge(Node(seat.node, name), reply, lambda claim: self._confirm(claim, name))
        seat.message = ""
        if outcome.result == "accepted" and outcome.claim is not None:
            claim = outcome.claim
            self._note(seat, "accepted", contribution_id=claim.contribution_id, sha256=claim.sha256)
            return
        seat.failures += 1
        seat.not_before = time.monotonic() + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (seat.failures - 1))
        self._note(seat, "refused" if outcome.result == "refused" else "failed", outcome.reason)

    def _note(self, seat: _Seat, progress: SiteProgress, reason: str = "", **values: Any) -> None:
        seat.record = seat.record.model_copy(update={"progress": progress, "reason": reason, **values})
        self._changed = True

    @staticmethod
    def _settled(seat: _Seat) -> bool:
        return seat.record.progress == "accepted"


@dataclass(frozen=True, slots=True)
class ProgressFile:
    """What the ServerApp tells the process that runs the campaign, in one small file.

    Attributes:
        path: the file.
    """

    path: Path

    @classmethod
    def of(cls, files: Path, attempt: int) -> Self:
        """The file of one attempt: a ServerApp that is left over from an earlier one tells nobody any more.

        Args:
            files: the folder of the campaign's files.
            attempt: how often Flower was started before.
        """
        return cls(files / f"progress-{attempt}.json")

    @property
    def begun(self) -> bool:
        """Whether the ServerApp has told anything."""
        return self.path.exists()

    def tell(self, sites: Sequence[SiteRecord], *, ended: bool = False) -> None:
        """Write it.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        value = {"ended": ended, "sites": [site.model_dump() for site in sites]}
        durable.write(self.path, json.dumps(value).encode())

    def read(self) -> tuple[list[SiteRecord], bool]:
        """What became of each site so far, and whether the ServerApp has ended; nothing before it began."""
        try:
            value = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return [], False
        except ValueError as exc:
            raise InvalidInput("JSON_MALFORMED", f"{self.path} is no progress of a campaign") from exc
        return [SiteRecord.model_validate(site) for site in value["sites"]], bool(value["ended"])
