"""Only nodes of active contributors that a campaign invites are registered, at every moment."""

from types import SimpleNamespace

import pytest

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import Unavailable
from genepool_server.campaign.roll import Roll
from genepool_server.pool.sites.campaigns import CampaignRecord, SiteRecord
from genepool_server.records import Site


class Flower:
    """Flower's control: numbers nodes, and refuses keys that it was told to refuse."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[str, str]] = {}
        self.refused: set[str] = set()

    def register(self, site, key) -> int:
        if key.keyid in self.refused:
            raise Unavailable("CAMPAIGN_FAILED", "the key is in use")
        number = 1 + max(self.nodes, default=0)
        self.nodes[number] = (site, key.keyid)
        return number

    def unregister(self, node) -> None:
        del self.nodes[node]

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.nodes.values())


def record(*chosen: str) -> CampaignRecord:
    return CampaignRecord(
        id="00000001", state="running", pid=1, process="1", bundle="sha256:" + "0" * 64, min_sites=1,
        chosen=list(chosen), began="2026-01-01T00:00:00Z", deadline="2026-01-02T00:00:00Z",
    )  # fmt: skip


class World:
    def __init__(self) -> None:
        self.sites = {name: Site(name, "ACTIVE", "k", "p", roles=("contributor",)) for name in ("a", "b", "c")}
        self.sites["d"] = Site("d", "ACTIVE", "k", "p", roles=("auditor",))
        self.keys = {name: SigningKey.generate().public for name in "abcd"}
        self.flower = Flower()
        self.up = True
        self.roll = Roll(self._ask, lambda: self.keys)

    def _ask(self):
        if not self.up:
            raise Unavailable("POOL_UNREACHABLE", "it restarts")
        return self.sites.values()

    def state(self, name: str, state: str) -> None:
        self.sites[name] = Site(name, state, "k", "p", roles=("contributor",))

    def turn(self, *chosen: str, told=()) -> dict[str, SiteRecord]:
        self.roll.ask()
        self.roll.register(record(*chosen), self.flower)
        return {line.site: line for line in self.roll.lines(record(*chosen), told)}


@pytest.fixture
def world():
    return World()


def test_active_contributors_are_registered_and_nobody_else(world):
    world.state("c", "SUSPENDED")
    assert list(world.turn()) == ["a", "b"]
    assert world.flower.names == ["a", "b"]
    assert world.roll.nodes == {name: world.keys[name].keyid for name in "ab"}


def test_who_is_shut_out_loses_the_registration_and_gets_it_back(world):
    world.turn()
    world.state("a", "REVOKED")
    lines = world.turn("a", "b")
    assert world.flower.names == ["b"]
    assert lines["a"].reason == "the site is REVOKED"
    world.state("a", "ACTIVE")
    assert list(world.turn("a", "b")) == ["a", "b"]
    assert world.flower.names == ["a", "b"]


def test_another_key_takes_the_place_of_the_first(world):
    world.turn()
    world.keys["a"] = SigningKey.generate().public
    world.turn()
    assert sorted(world.flower.nodes.values()) == sorted((name, world.keys[name].keyid) for name in "abc")


def test_a_key_that_flower_refuses_ends_no_campaign(world):
    world.flower.refused = {world.keys["a"].keyid}
    assert "keys/node.key" in world.turn()["a"].reason
    assert world.flower.names == ["b", "c"]


def test_while_the_pool_restarts_everybody_stays(world):
    world.turn()
    world.up = False
    assert list(world.turn()) == ["a", "b", "c"]


def test_nodes_that_a_new_superlink_knows_are_taken_over(world):
    world.turn()
    known = {name: (number, world.keys[name]) for number, (name, _) in world.flower.nodes.items()}
    world.roll = Roll(world._ask, lambda: world.keys)
    world.roll.adopt(SimpleNamespace(nodes=lambda: known))
    world.keys["b"] = SigningKey.generate().public
    world.turn()
    assert world.flower.names == ["a", "b", "c"]
    assert world.flower.nodes[1] == ("a", world.keys["a"].keyid)  # its node goes on
    assert ("b", world.keys["b"].keyid) in world.flower.nodes.values()


def test_a_contribution_on_record_is_not_forgotten(world):
    sites = [SiteRecord(site="a", progress="accepted", contribution_id="1"), SiteRecord(site="b", invitations=2)]
    world.roll.ask()
    lines = world.roll.lines(record().model_copy(update={"sites": sites}), [SiteRecord(site="a", progress="waiting")])
    assert lines[0] == sites[0]
    assert [(line.progress, line.invitations) for line in lines[1:]] == [("absent", 2), ("absent", 0)]


def test_absence_says_why(world):
    del world.keys["b"]
    lines = world.turn("a", "b", "d", "e", told=[SiteRecord(site="c", progress="accepted")])
    assert {name: line.reason.split(":")[0] for name, line in lines.items()} == {
        "a": "its node has entered and is not connected",
        "b": "its node has not come",
        "c": "",
        "d": "the site is no contributor",
        "e": "the pool knows no such site",
    }
