"""Inviting sites: every reply is judged by the pool's word, whoever sent it and in whatever order."""

import json
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Error, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from genepool_protocol.wire.errors import GenepoolError, NotFound
from genepool_server.campaign import server_app
from genepool_server.campaign.claims import Outcome, claim_of
from genepool_server.campaign.fab import app_folder, build, digest_of
from genepool_server.campaign.invitations import CampaignPlan, Node, invite, wait_for_sites
from genepool_server.campaign.report import RunReport
from tests.support.flower import reply

RECEIPT = {"contribution-id": "ab" * 32, "sha256": "cd" * 32, "size-bytes": 7, "status": "ACTIVE", "code": "0.1.0+0"}
PLAN = CampaignPlan(min_nodes=1, wait_seconds=0.0, quorum=0, site_timeout=30.0)


@pytest.fixture(autouse=True)
def _task():
    """Flower's messages are made within a run."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


class Sites:
    """Flower's grid with sites that answer as they are told; the replies come one poll after the other.

    Args:
        answers: node id -> receipt members, an Error, or None for silence.
    """

    def __init__(self, answers: dict) -> None:
        self.answers, self.ready, self.ttls = answers, [], []

    def get_nodes(self):
        return [SimpleNamespace(node_id=node, name=f"site-{node}") for node in reversed(self.answers)]

    def push_messages(self, messages):
        ids = [f"message-{message.metadata.dst_node_id}" for message in messages]
        self.ttls = [message.metadata.ttl for message in messages]
        self.ready = [(i, self.answers[m.metadata.dst_node_id]) for i, m in zip(ids, messages, strict=True)]
        return ids

    def pull_messages(self, ids):
        if not self.ready:
            return []
        message_id, answer = self.ready.pop()
        assert message_id in ids
        return (
            [] if answer is None else [reply(message_id, answer if isinstance(answer, Error) else RecordDict(answer))]
        )


def run(answers: dict, confirm=lambda _claim: 0, plan: CampaignPlan = PLAN) -> dict[int, Outcome]:
    sites = Sites(answers)
    nodes = wait_for_sites(sites, plan)
    assert [one.node for one in nodes] == sorted(answers)
    found = list(invite(sites, nodes, RecordDict(), plan, confirm))
    assert sites.ttls == [plan.site_timeout] * len(answers)
    return {outcome.node: outcome for outcome in found}


def test_each_answer_is_judged_by_itself(monkeypatch):
    monkeypatch.setattr("genepool_server.campaign.invitations._POLL", 0.0)

    def confirm(claim) -> int:
        if claim.sha256 == "ef" * 32:
            raise NotFound("CONTRIBUTION_UNKNOWN", "no such contribution")
        return 5

    found = run(
        {
            11: {"receipt": ConfigRecord(RECEIPT)},
            12: {"receipt": ConfigRecord(RECEIPT | {"sha256": "ef" * 32})},
            13: Error(code=3, reason="Message Unavailable"),
            14: {"something": ConfigRecord({"else": 1})},
        },
        confirm,
    )
    assert {node: outcome.result for node, outcome in found.items()} == {
        11: "accepted",
        12: "refused",
        13: "failed",
        14: "refused",
    }
    assert found[11].claim.contribution_id == "ab" * 32
    assert found[13].reason == "[3] Message Unavailable"
    assert found[11].name == "site-11"


def test_a_site_that_never_answers_does_not_hold_the_campaign(monkeypatch):
    monkeypatch.setattr("genepool_server.campaign.invitations._POLL", 0.0)
    monkeypatch.setattr("genepool_server.campaign.invitations._MARGIN", 0.0)
    plan = CampaignPlan(min_nodes=1, wait_seconds=0.0, quorum=0, site_timeout=0.2)
    found = run({1: None, 2: {"receipt": ConfigRecord(RECEIPT)}}, plan=plan)
    assert (found[1].result, found[2].result) == ("silent", "accepted")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "x"},
        {"contribution-id": "AB" * 32},
        {"size-bytes": True},
        {"size-bytes": "7"},
        {"code": "x" * 129},
        {"more": 1},
    ],
)
def test_a_reply_that_is_no_receipt_is_no_claim(change):
    assert claim_of(RECEIPT).size_bytes == 7
    with pytest.raises(GenepoolError) as caught:
        claim_of(RECEIPT | change)
    assert caught.value.reason == "FILE_MALFORMED"


def test_the_report_is_whole_at_every_moment_and_knows_the_quorum(tmp_path):
    report = RunReport(1, tmp_path / "run.json")
    report.begin([Node(1, "a"), Node(2, "b")], PLAN)
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
    report.add(Outcome(1, "a", "accepted", "", claim_of(RECEIPT)))
    report.add(Outcome(2, "b", "failed", "[1000] the site could not contribute"))
    report.end()
    value = json.loads((tmp_path / "run.json").read_text())
    assert (value["state"], value["quorum"], value["accepted"], value["invited"]) == ("quorum missed", 2, 1, 2)
    assert value["sites"][0]["claim"]["contribution_id"] == "ab" * 32
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("change", [{"min-nodes": 0}, {"quorum": -1}, {"site-timeout": 0}, {"wait-seconds": "soon"}])
def test_a_plan_that_cannot_work_is_refused(change):
    config = {"min-nodes": 1, "wait-seconds": 1.0, "quorum": 0, "site-timeout": 5.0}
    assert CampaignPlan.of(config).site_timeout == 5.0
    for bad in (config | change, {}):
        with pytest.raises(GenepoolError) as caught:
            CampaignPlan.of(bad)
        assert caught.value.reason == "CONFIG_INVALID"


def test_without_anchors_nobody_is_invited(monkeypatch):
    monkeypatch.delenv(server_app.ANCHORS, raising=False)
    with pytest.raises(GenepoolError) as caught:
        server_app._anchors()
    assert caught.value.reason == "CONFIG_INVALID"


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # flwr 1.41's own
def test_the_bundle_has_no_code_and_a_stable_digest():
    assert [path.name for path in app_folder().iterdir()] == ["pyproject.toml"]
    digests = {digest_of(build()) for _ in range(2)}
    assert [len(digest) for digest in digests] == [71]
