"""Inviting: one message to each site, with an end; replies are matched to invitations by the id that they reply to."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_server.campaign.claims import Outcome, ReceiptClaim, claim_of

_POLL: Final = 1.0  # seconds
_MARGIN: Final = 10.0  # seconds that a reply may be under way when its time is over
MESSAGE: Final = "query.contribute"
"""What a site's ClientApp answers to."""


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """The campaign's run configuration.

    Attributes:
        min_nodes: sites to wait for before anybody is invited.
        wait_seconds: how long to wait for them.
        quorum: contributions that the campaign needs; 0: one from every invited site.
        site_timeout: seconds that a site has.
    """

    min_nodes: int
    wait_seconds: float
    quorum: int
    site_timeout: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The plan in Flower's run configuration.

        Raises:
            InvalidInput: CONFIG_INVALID.
        """
        try:
            plan = cls(
                int(config["min-nodes"]),
                float(config["wait-seconds"]),
                int(config["quorum"]),
                float(config["site-timeout"]),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise _bad("a member is missing or no number") from exc
        if plan.min_nodes < 1 or plan.quorum < 0 or plan.wait_seconds < 0 or plan.site_timeout <= 0:
            raise _bad("a number is out of range")
        return plan


@dataclass(frozen=True, slots=True)
class Node:
    """A site as Flower knows it; the name is empty unless it was registered under one."""

    node: int
    name: str


def wait_for_sites(grid: Grid, plan: CampaignPlan) -> list[Node]:
    """The sites that are there when enough are, or when the time is over; none are there at the start of a run."""
    deadline = time.monotonic() + plan.wait_seconds
    while True:
        nodes = [Node(info.node_id, getattr(info, "name", "") or "") for info in grid.get_nodes()]
        if len(nodes) >= plan.min_nodes or time.monotonic() >= deadline:
            return sorted(nodes, key=lambda one: one.node)
        time.sleep(_POLL)


def invite(
    grid: Grid, nodes: Sequence[Node], content: RecordDict, plan: CampaignPlan, confirm: Callable[[ReceiptClaim], int]
) -> Iterator[Outcome]:
    """Invite every site, and yield what became of each as its answer comes in.

    Args:
        grid: Flower's.
        nodes: whom to invite.
        content: what the invitation says.
        plan: of the campaign.
        confirm: raises a GenepoolError when the pool does not hold a claim.
    """
    messages = [Message(content, invited.node, MESSAGE, ttl=plan.site_timeout) for invited in nodes]
    waiting = dict(zip(grid.push_messages(messages), nodes, strict=True))
    deadline = time.monotonic() + plan.site_timeout + _MARGIN
    while waiting and time.monotonic() < deadline:
        for reply in grid.pull_messages(list(waiting)):
            # the SuperLink answers for a site that is away, so the sender says nothing about who was asked
            node = waiting.pop(reply.metadata.reply_to_message_id, None)
            if node is not None:
                yield judge(node, reply, confirm)
        if waiting:
            time.sleep(_POLL)
    for node in waiting.values():
        yield Outcome(node.node, node.name, "silent", "no answer in time")


def judge(node: Node, reply: Message, confirm: Callable[[ReceiptClaim], int]) -> Outcome:
    """What a reply is worth."""
    if reply.has_error():
        return Outcome(node.node, node.name, "failed", f"[{reply.error.code}] {(reply.error.reason or '')[:200]}")
    record = reply.content.get("receipt")
    try:
        claim = claim_of(record if isinstance(record, ConfigRecord) else {})
    except GenepoolError as exc:
        return Outcome(node.node, node.name, "refused", exc.message)
    try:
        confirm(claim)
    except GenepoolError as exc:
        return Outcome(node.node, node.name, "refused", exc.message, claim)
    return Outcome(node.node, node.name, "accepted", "", claim)


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        "CONFIG_INVALID", f"the campaign's run configuration is not valid: {why}", "see app/pyproject.toml"
    )
