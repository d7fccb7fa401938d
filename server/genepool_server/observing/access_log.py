"""The access log: one line for each contribution, selection, descent, enrolment, verdict and refusal, in the log."""

import logging
from typing import Final

from genepool_console.log_lines import facts
from genepool_server.front.guards.calls import Call
from genepool_server.pool.review_queue import Reviewed
from genepool_server.serving.peers import HOUSE, Peer

_log: Final = logging.getLogger("genepool_server.access")

_V1: Final = "/genepool.v1."

EVENTS: Final = {
    f"{_V1}ContributeService/Commit": "contribution",
    f"{_V1}ContributeService/Withdraw": "withdrawal",
    f"{_V1}OperatorService/WithdrawContribution": "withdrawal",
    f"{_V1}SelectService/ListKeys": "select",
    f"{_V1}SelectService/GetThin": "select",
    f"{_V1}SelectService/Select": "select",
    f"{_V1}DescendService/Descend": "descend",
    f"{_V1}EnrolmentService/Enrol": "enrolment",
    f"{_V1}EnrolmentService/Renew": "enrolment",
    f"{_V1}EnrolmentService/RotateSigningKey": "enrolment",
    f"{_V1}OperatorService/ChangeSite": "enrolment",
    f"{_V1}OperatorService/DecideContribution": "verdict",
    f"{_V1}OperatorService/OpenDashboard": "login-link",
}
"""Full name of a method -> what a call of it is; other methods are heard of when they refuse."""

REFUSAL: Final = "refusal"


def event_of(call: Call) -> str:
    """What a call that is over was; empty for what is not recorded."""
    return REFUSAL if call.reason else EVENTS.get(call.method, "")


def record(call: Call) -> None:
    """Write the line of a call that is over, if it has one."""
    event = event_of(call)
    if not event:
        return
    caller, by = _caller(call.peer)
    members = {"method": call.method.rpartition(".")[2], "code": call.code, "reason": call.reason}
    members |= {"site": call.site, "digest": call.digest, "state": call.state}
    said = {name: text for name, text in members.items() if text}
    _log.info(event, extra=facts(caller=caller, by=by, **said, bytes=call.size, seconds=round(call.seconds, 4)))


def record_review(review: Reviewed) -> None:
    """Write the line of a verdict that no operator gave."""
    subject = review.contribution
    members = facts(
        caller="pool",
        by="review",
        site=subject.site,
        digest=subject.sha256,
        state=review.state,
        bytes=subject.size_bytes,
        seconds=round(review.seconds, 4),
    )
    _log.info("verdict", extra=members)


def _caller(peer: Peer) -> tuple[str, str]:
    """Who called, and how that is known."""
    if peer == HOUSE:
        return "operator", "socket"
    return peer.name, "certificate" if peer.certified else "address"
