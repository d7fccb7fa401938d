"""Inviting with patience: again after an error, after a doubt and after a restart, never twice at once."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Error, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from genepool_protocol.wire.errors import NotFound
from genepool_server.campaign import pursuit
from genepool_server.campaign.pursuit import ProgressFile, Pursuit
from genepool_server.pool.sites.campaigns import SiteRecord
from tests.support.flower import reply

RECEIPT = {"contribution-id": "ab" * 32, "sha256": "cd" * 32, "size-bytes": 7, "status": "ACTIVE", "code": "0.1.0+0"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Flower's messages are made within a run; nobody waits."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    monkeypatch.setattr(pursuit, "_POLL", 0.005)
    monkeypatch.setattr(pursuit, "_FIRST_PAUSE", 0.02)


class Nodes:
    """Flower's grid: each node answers its invitations one after the other.

    Args:
        answers: node -> what it answers to each: receipt members, an Error, or None for silence.
        away: nodes that come only after so many looks.
    """

    def __init__(self, answers: dict, away: dict | None = None) -> None:
        self.answers, self.away = {node: list(given) for node, given in answers.items()}, away or {}
        self.began = dict.fromkeys(answers, "1")
        self.sent: list[tuple[int, str]] = []
        self.ready: list[tuple[str, object]] = []
        self.looks = 0
        self.after_look = lambda: None

    def get_nodes(self):
        self.looks += 1
        self.after_look()
        there = [node for node in self.answers if self.looks > self.away.get(node, 0)]
        return [
            SimpleNamespace(node_id=node, name=f"site-{node}", last_activated_at=self.began[node]) for node in there
        ]

    def push_messages(self, messages):
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            ids.append(f"{node}.{len(self.sent)}")
            self.sent.append((node, ids[-1]))
            self.ready.append((ids[-1], self.answers[node].pop(0)))
        return ids

    def pull_messages(self, ids):
        given = [(one, answer) for one, answer in self.ready if one in ids and answer is not None]
        self.ready = [entry for entry in self.ready if entry not in given]
        contents = [
            said if isinstance(said, Error) else RecordDict({"receipt": ConfigRecord(said)}) for _, said in given
        ]
        return [reply(message_id, content) for (message_id, _), content in zip(given, contents, strict=True)]


def pursue(nodes: Nodes, names: set[str], seconds: float = 2.0, confirm=lambda _claim, _site: 0, before=()):
    """What became of each site."""
    told: dict[str, SiteRecord] = {}
    told_all = []

    def tell(sites) -> None:
        told.update({site.site: site for site in sites})
        told_all.append([site.progress for site in sites])

    Pursuit(nodes, confirm, tell, before).until(datetime.now(UTC) + timedelta(seconds=seconds), lambda: names)
    return told, told_all


def test_a_site_that_failed_is_invited_again_until_it_contributed():
    nodes = Nodes({1: [Error(code=1000, reason="no room"), Error(code=8, reason="gone"), RECEIPT], 2: [RECEIPT]})
    told, history = pursue(nodes, {"site-1", "site-2"})
    assert {name: (site.progress, site.invitations) for name, site in told.items()} == {
        "site-1": ("accepted", 3),
        "site-2": ("accepted", 1),
    }
    assert [node for node, _ in nodes.sent].count(2) == 1  # who has contributed is left alone
    assert ["failed", "accepted"] in history
    assert told["site-1"].contribution_id == "ab" * 32


def test_a_claim_that_the_pool_does_not_know_is_asked_for_again():
    doubts = [NotFound("CONTRIBUTION_UNKNOWN", "the pool holds no such contribution")]

    def confirm(claim, site) -> int:
        assert (claim.sha256, site) == ("cd" * 32, "site-1")
        if doubts:
            raise doubts.pop()
        return 3

    told, history = pursue(Nodes({1: [RECEIPT, RECEIPT]}), {"site-1"}, confirm=confirm)
    assert (told["site-1"].progress, told["site-1"].invitations) == ("accepted", 2)
    assert ["refused"] in history


def test_a_node_that_was_started_anew_is_invited_again_and_others_are_not_asked_twice():
    nodes = Nodes({1: [None, RECEIPT], 2: [None, RECEIPT]})

    def restart() -> None:
        nodes.began[1] = "2" if nodes.looks > 4 else "1"

    nodes.after_look = restart
    told, _ = pursue(nodes, {"site-1", "site-2"}, 0.3)
    assert (told["site-1"].progress, told["site-1"].invitations) == ("accepted", 2)
    assert (told["site-2"].progress, told["site-2"].invitations) == ("invited", 1)


def test_who_comes_late_is_invited_and_who_is_not_asked_for_is_not():
    nodes = Nodes({1: [RECEIPT], 2: [RECEIPT]}, away={1: 5})
    told, _ = pursue(nodes, {"site-1"})
    assert list(told) == ["site-1"]
    assert [node for node, _ in nodes.sent] == [1]


def test_who_contributed_before_flower_was_started_anew_is_not_asked_again():
    before = [
        SiteRecord(site="site-1", progress="accepted", invitations=2, contribution_id="ef" * 32),
        SiteRecord(site="site-2", progress="invited", invitations=3),
    ]
    nodes = Nodes({1: [RECEIPT], 2: [RECEIPT]})
    told, _ = pursue(nodes, {"site-1", "site-2"}, before=before)
    assert [node for node, _ in nodes.sent] == [2]
    assert told["site-1"] == before[0]
    assert (told["site-2"].progress, told["site-2"].invitations) == ("accepted", 4)


def test_the_deadline_ends_it():
    told, _ = pursue(Nodes({1: [None]}), {"site-1", "site-2"}, 0.1)
    assert {name: site.progress for name, site in told.items()} == {"site-1": "invited"}
    told, _ = pursue(Nodes({1: [RECEIPT]}), {"site-1"}, -5.0)
    assert told == {}


def test_progress_is_read_as_it_was_told(tmp_path):
    file = ProgressFile.of(tmp_path, 1)
    assert (file.read(), file.begun) == (([], False), False)
    sites = [SiteRecord(site="a", progress="failed", reason="\x1b[2J", invitations=3)]
    file.tell(sites, ended=True)
    assert (file.read(), file.begun) == ((sites, True), True)
    assert ProgressFile.of(tmp_path, 2).read() == ([], False)  # what is left of an earlier attempt is not heard
