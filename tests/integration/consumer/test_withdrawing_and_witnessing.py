"""One pool from the first contribution to the last erasure, as sites, consumers, auditors and witnesses see it."""

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from genepool_client.audit.witness import Witness
from genepool_client.consumer.pool import Pool
from genepool_client.site import credentials, enrolment, submission
from genepool_client.site.materials import SiteBlueprint
from genepool_client.transport import log_memory
from genepool_client.transport.channel import Connection
from genepool_client.transport.user_folders import default_cache
from genepool_protocol.learngene import descendant
from genepool_protocol.trust import envelope, events
from genepool_protocol.trust.anchors import Invite, read_anchors
from genepool_server.pool.pool import OpenPool as ServedPool
from genepool_server.root.repository import Repository
from tests.integration.consumer.conftest import TINY, Members, make_pool
from tests.integration.site.world import condensed, silent
from tests.support import sites
from tests.support.refusals import reason_of
from tests.support.server import command, serving

pytestmark = pytest.mark.usefixtures("nothing_seen")


class Two(Members):
    def __post_init__(self):
        super().__post_init__()
        self.north, self.south = self.add("north"), self.add("south", distance=0.6)


@pytest.fixture
def members(tmp_path, task):
    """A pool of its own with two contributions, of north and south."""
    with serving(make_pool(tmp_path / "pool")) as server:
        yield Two(server, task)


def withdraw(members, site, contribution_id):
    pool = members.server.pool
    event = events.Withdrawal(
        pool=pool.origin,
        time="2026-07-01T12:00:00Z",
        contribution_id=contribution_id,
        sha256=pool.contributions.get(contribution_id).sha256,
    )
    return pool.contributions.withdrawals.withdraw(envelope.sign_statement(members.joined[site].key, event.payload()))


def asked(run, *arguments):
    code, out, err = run(*arguments, "--json")
    return code, json.loads(out.splitlines()[-1] if out.startswith('{"') else out) if out else err


def test_a_descendant_of_a_withdrawn_learngene_is_answered_as_withdrawn(members, run, tmp_path):
    server, anchors = members.server, members.server.folder / "pool.json"
    with Pool(server.address, server.anchors, blueprint=TINY) as pool:
        weights = {members.north: 500, members.south: 500}
        made = pool.write(tmp_path / "both", pool.budget("2,2", None, None), weights)
        pool.write(tmp_path / "alone", pool.budget("2,2", None, None), {members.south: 1000})
        assert run("verify", made.folder, "--pool", anchors, "--online")[0] == 0
        listed = list(server.pool.contributions.descendants.of(members.north))
        assert [one.sha256 for one in listed] == [made.lineage.model]

        done = withdraw(members, "north", members.north)
        assert done.descendants == 1
        code, answer = asked(run, "verify", made.folder, "--pool", anchors, "--online")
        assert (code, answer["error"]) == (6, "LINEAGE_WITHDRAWN")
        assert "1 with the log's proof" in answer["message"]
        assert run("verify", made.folder, "--pool", anchors)[0] == 0, "offline it is what it was"
        assert run("verify", tmp_path / "alone", "--pool", anchors, "--online")[0] == 0

        assert reason_of(pool.write, tmp_path / "late", pool.budget("2,2", None, None), weights) in (
            "CONTRIBUTION_NOT_ACTIVE"
        )
        assert not (tmp_path / "late").exists()
        found = pool.select(np.zeros((4, 16, 16, 3), np.uint8), "private")
        assert {one.contribution_id for one in found.candidates} == {members.south}


def test_a_consumers_cache_forgets_what_is_withdrawn(members, pictures):
    def cached():
        return {path.name.partition("-")[0] for path in (default_cache() / "thin").rglob("*.safetensors")}

    shutil.rmtree(default_cache() / "thin", ignore_errors=True)
    with Pool(members.server.address, members.server.anchors, blueprint=TINY) as pool:
        pool.select(pictures)
        assert cached() == {members.north, members.south}
        withdraw(members, "north", members.north)
        pool.select(pictures)
    assert cached() == {members.south}


def test_rebuilding_needs_the_learngenes_and_gives_the_very_same_bytes(members, run, tmp_path):
    server, anchors = members.server, members.server.folder / "pool.json"
    with Pool(server.address, server.anchors, blueprint=TINY) as pool:
        weights = {members.north: 750, members.south: -250}
        made = pool.write(tmp_path / "both", pool.budget("3,2", None, None), weights)
    blobs = server.folder / "blobs"
    call = ("verify", made.folder, "--pool", anchors, "--rebuild", "--learngenes", blobs)
    assert run(*call)[0] == 0
    withdraw(members, "north", members.north)
    code, answer = asked(run, *call)
    assert (code, answer["error"]) == (3, "FILE_MISSING"), "what was erased cannot be used again"


def test_a_withdrawal_while_a_descendant_is_built_is_never_half(members, tmp_path, monkeypatch):
    """Between the last byte and the signature: the descendant is refused, and nobody holds half of one."""
    from genepool_server.serving import descendant_documents

    real = descendant_documents.descended

    def withdrawn_meanwhile(order, sha256):
        withdraw(members, "north", members.north)
        return real(order, sha256)

    server = members.server
    with Pool(server.address, server.anchors, blueprint=TINY) as pool:
        monkeypatch.setattr(descendant_documents, "descended", withdrawn_meanwhile)
        assert (
            reason_of(pool.write, tmp_path / "late", pool.budget("2,2", None, None), {members.north: 1000})
            == "CONTRIBUTION_NOT_ACTIVE"
        )
    assert not (tmp_path / "late").exists()
    assert list(server.pool.contributions.descendants.of(members.north)) == []


def test_anybody_audits_the_log_from_the_pool_and_from_a_copy(members, run, tmp_path):
    from tests.support.server import command

    server, anchors = members.server, members.server.folder / "pool.json"
    withdraw(members, "north", members.north)
    exported = command("log", server.folder, "--export", tmp_path / "copy", "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["entries"][-1]["kind"] == "erased"
    (tmp_path / "before").write_text(server.pool.heads.latest())
    live = asked(run, "log", "verify", "--pool", anchors)
    copied = asked(
        run, "log", "verify", "--pool", anchors, "--folder", tmp_path / "copy", "--since", tmp_path / "before"
    )
    assert live[0] == copied[0] == 0
    assert live[1]["contributions"] == {"ACTIVE": 1, "WITHDRAWN": 1}
    assert copied[1]["continues"] == [10, 10], "what was given, and what was remembered of the first audit"
    bundle = tmp_path / "copy" / "statements" / "000.p" / "10"
    raw = bundle.read_bytes()
    bundle.write_bytes(raw[:900] + bytes([raw[900] ^ 1]) + raw[901:])
    code, told, _ = run("log", "verify", "--pool", anchors, "--folder", tmp_path / "copy")
    assert code == 4
    assert "VIOLATION: entry" in told


# -- two faces ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def forked(tmp_path, task):
    """Two folders of one pool, with the same keys, that went different ways."""
    first, second = make_pool(tmp_path / "first"), tmp_path / "second"
    with serving(first) as server:
        members = Members(server, task)
        members.add("north")
    shutil.copytree(first, second)
    for folder, site in ((first, "south"), (second, "east")):
        with ServedPool.open(folder) as pool:
            contributor = sites.join(pool, site)
            weights = sites.weights_of(pool.blueprint(TINY).blueprint, np.random.default_rng(len(site)))
            sites.submit(pool, contributor.pack(pool, weights))
    return first, second


def test_a_consumer_catches_a_forked_pool_and_keeps_the_evidence(forked, run, tmp_path):
    first, second = forked
    with serving(first) as server:
        name = server.pool.contributions.all()[0].contribution_id
        with Pool(server.address, server.anchors, blueprint=TINY) as pool:
            pool.write(tmp_path / "good", pool.budget("2,2", None, None), {name: 1000})
    with serving(second) as server, Pool(server.address, server.anchors, blueprint=TINY) as pool:
        assert reason_of(pool.write, tmp_path / "bad", pool.budget("2,2", None, None), {name: 1000}) == "LOG_FORK"
        assert not (tmp_path / "bad").exists()
        assert asked(run, "log", "verify", "--pool", second / "pool.json")[0] == 4
    code, pairs = asked(run, "log", "evidence")
    assert code == 0
    assert {pair["seen"] == pair["shown"] for pair in pairs} == {False}
    assert log_memory.remembered(Repository(first / "trust").trusted(), read_anchors(first / "pool.json"))


def test_a_witness_does_not_cosign_a_forked_pool(forked, tmp_path):
    first, second = forked
    witness = Witness.create(tmp_path / "witness", "witness.example/one")
    for folder in forked:
        text = (
            (folder / "genepool.toml")
            .read_text()
            .replace("witnesses = []", f'witnesses = ["{witness.signer.public.vkey}"]')
        )
        (folder / "genepool.toml").write_text(text.replace("quorum = 0", "quorum = 1"))
        assert command("root", "publish", "--dir", folder).returncode == 0
    now = datetime.now(UTC)
    with serving(first) as server, Connection(server.anchors) as connection:
        assert witness.visit(connection, now).size == 8
        assert witness.visit(connection, now).size == 8, "looking again cosigns again"
    with serving(second) as server, Connection(server.anchors) as connection:
        assert reason_of(witness.visit, connection, now) == "LOG_FORK"
        assert server.pool.heads.witnessed() == ""
    assert len(log_memory.evidence(tmp_path / "witness")) == 1


def test_clients_demand_the_quorum_that_the_trust_root_names(tmp_path, task, run):
    witnesses = [Witness.create(tmp_path / name, f"{name}.example/w") for name in ("one", "two")]
    keys = [one.signer.public.vkey for one in witnesses]
    with serving(make_pool(tmp_path / "pool", witnesses=keys, quorum=2)) as server:
        members = Members(server, task)
        name = members.add("north")
        assert (server.trusted.witnesses, server.trusted.quorum) == (keys, 2)
        with Pool(server.address, server.anchors, blueprint=TINY) as pool, Connection(server.anchors) as connection:
            order = (pool.budget("2,2", None, None), {name: 1000})
            for count, witness in enumerate(witnesses):
                assert reason_of(pool.write, tmp_path / "none", *order) == "WITNESSES_MISSING", count
                assert witness.visit(connection, datetime.now(UTC))
            pool.write(tmp_path / "witnessed", *order)
            later = members.add("south")
            later_order = (order[0], {later: 1000})
            assert reason_of(pool.write, tmp_path / "none", *later_order) == "WITNESSES_MISSING", "not covered yet"
            pool.write(tmp_path / "again", *order)
            for one in ("one", "two"):
                assert run("witness", "run", tmp_path / one, "--pool", server.folder / "pool.json")[0] == 0
            pool.write(tmp_path / "covered", *later_order)
        code, report = asked(run, "log", "verify", "--pool", server.folder / "pool.json")
        assert (code, report["witnesses"]) == (0, ["one.example/w", "two.example/w"])
        stranger = Witness.create(tmp_path / "stranger", "stranger.example/w")
        with Connection(server.anchors) as connection:
            assert reason_of(stranger.visit, connection, datetime.now(UTC)) == "KEY_UNKNOWN"
    assert descendant.MODEL_FILE in {path.name for path in (tmp_path / "covered").iterdir()}


def test_a_site_signs_nothing_under_a_head_that_lacks_the_quorum(tmp_path):
    witness = Witness.create(tmp_path / "witness", "witness.example/one")
    folder = make_pool(tmp_path / "pool", witnesses=[witness.signer.public.vkey], quorum=1)
    with serving(folder) as server, Connection(server.anchors) as connection:
        made = server.pool.sites.invite("north", datetime.now(UTC))
        values = {"invite_id": made.invite_id, "secret": made.secret, "expires": made.expires}
        invite = Invite(site="north", anchors=server.anchors, **values)
        (tmp_path / "invite.json").write_bytes(invite.model_dump_json(by_alias=True).encode())
        setup = enrolment.Setup(tmp_path / "invite.json", "", "", "", "CC-BY-4.0", TINY, 2)
        site = enrolment.init(tmp_path / "site", setup)
        enrolment.enrol(site, connection)
        server.pool.sites.approve("north")
        condensed(site, 1)
        with credentials.connect(site) as certified:
            assert reason_of(submission.submit, SiteBlueprint(site), certified, silent) == "WITNESSES_MISSING"
            assert server.pool.contributions.all() == []
            witness.visit(connection, datetime.now(UTC))
            done = submission.submit(SiteBlueprint(site), certified, silent)
        observed = json.loads(server.pool.contributions.get(done.contribution_id).manifest)["observed"]
        assert observed["size"] == 2, "what it saw is what the witness saw"
