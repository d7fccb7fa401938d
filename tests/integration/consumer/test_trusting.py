"""Trust over the wire: clients follow a pool's trust root on real gRPC, through every replacement of its keys."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest

from genepool_client.audit.witness import Witness
from genepool_client.consumer.descendant.verify import verify
from genepool_client.consumer.pool import Pool
from genepool_client.transport import known_pools, trust_root, user_folders
from genepool_client.transport.channel import Connection
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import envelope
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import pool_pb2, pool_pb2_grpc
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.root.ceremony import POOL_KEYS, Ceremony
from genepool_server.root.repository import Repository
from genepool_server.root.settling import online_key
from tests.integration.consumer.conftest import TINY, Members, make_pool
from tests.support import sites
from tests.support.refusals import reason_of
from tests.support.server import command, serving

pytestmark = pytest.mark.usefixtures("nothing_seen")


@pytest.fixture
def folder(tmp_path):
    return make_pool(tmp_path / "pool")


def ask(server):
    """What a client that starts now is told."""
    with Connection(server.anchors) as connection:
        return connection.capabilities()


def restamp(folder, at):
    place = PoolFolder(folder)
    Repository(place.trust).refresh([online_key(place)], at, force=True)


# -- attacks 58 and 59 -------------------------------------------------------------------------------------------------


def test_a_pool_that_shows_an_older_trust_root_is_refused_with_evidence(folder, tmp_path):
    shutil.copytree(folder / "trust", tmp_path / "before")
    restamp(folder, datetime.now(UTC))
    with serving(folder) as server:
        ask(server)
        shutil.copytree(tmp_path / "before", folder / "trust", dirs_exist_ok=True)
        assert reason_of(ask, server) == "TRUST_ROLLBACK"
        kept = list((trust_root.TrustRoot(server.anchors).folder / "evidence").iterdir())
        assert [path.read_bytes() for path in kept] == [(tmp_path / "before" / "timestamp.json").read_bytes()]


@pytest.mark.parametrize(
    ("away", "reason"), [(-timedelta(days=1), "TRUST_EXPIRED"), (timedelta(days=1), "CLOCK_WRONG")]
)
def test_a_client_whose_clock_is_a_day_off_is_told_so_and_a_frozen_pool_is_refused(folder, away, reason):
    """The pool's clock is moved: that is what a client sees whose own clock is off the other way, or a frozen pool."""
    with serving(folder) as server:
        restamp(folder, datetime.now(UTC) + away)
        assert reason_of(ask, server) == reason


def test_a_server_that_starts_signs_afresh_what_has_ended(folder):
    for at in (datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) + timedelta(days=3)):
        restamp(folder, at)
        with serving(folder) as server:
            assert ask(server).origin == server.trusted.origin


class Endless(pool_pb2_grpc.TrustServiceServicer):
    """A pool whose trust root has no end; counts what was taken."""

    taken = 0

    def GetFile(self, request, context):  # noqa: N802
        while context.is_active():
            self.taken += LIMITS.chunk_bytes // 8
            yield pool_pb2.GetFileResponse(chunk=bytes(LIMITS.chunk_bytes // 8))


def test_a_trust_root_without_an_end_is_cut_off(folder, tmp_path):
    with serving(folder) as server:  # makes the certificate
        anchors = server.anchors
    keys, lying = folder / "keys", Endless()
    pair = ((keys / "tls.pem").read_bytes(), (keys / "tls.crt").read_bytes())
    liar = grpc.server(ThreadPoolExecutor(2))
    pool_pb2_grpc.add_TrustServiceServicer_to_server(lying, liar)
    port = liar.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    liar.start()
    try:
        with Connection(anchors.model_copy(update={"address": f"127.0.0.1:{port}"}), timeout=20) as connection:
            assert reason_of(connection.capabilities) == "TRUST_INVALID"
    finally:
        liar.stop(0).wait()
    assert lying.taken <= 64 * LIMITS.chunk_bytes, "what fits into gRPC's buffers, not more"


def test_files_of_the_trust_root_are_read_by_their_names_alone(folder):
    with serving(folder) as server, server.stubs() as stubs:
        for name in ("../keys/online.pem", "", "/etc/passwd", "1.root.json/../2.root.json"):
            with pytest.raises(grpc.RpcError) as caught:
                list(stubs.trust.GetFile(pool_pb2.GetFileRequest(name=name), timeout=10))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        parts = stubs.trust.GetFile(pool_pb2.GetFileRequest(name="1.root.json"), timeout=10)
        assert b"".join(one.chunk for one in parts).decode() == server.anchors.root


# -- attack 55 ---------------------------------------------------------------------------------------------------------


def replace(folder, *names, **options):
    for name in names:
        with Ceremony.held(PoolFolder(folder), None, datetime.now(UTC)) as at:
            (at.replace_pool_key if name in POOL_KEYS else at.replace_root_key)(name, **options)


def write(server, out, name):
    with Pool(server.address, server.anchors, blueprint=TINY) as pool:
        return pool.write(out, pool.budget("2,2", None, None), {name: 1000})


def test_every_client_follows_a_pool_whose_keys_were_all_replaced(folder, task, tmp_path, run):
    witness = Witness.create(tmp_path / "witness", "witness.example/one")
    text = (folder / "genepool.toml").read_text()
    text = text.replace("witnesses = []", f'witnesses = ["{witness.signer.public.vkey}"]')
    (folder / "genepool.toml").write_text(text)
    done = command("root", "publish", "--dir", folder, "--json")
    assert done.returncode == 0, done.stderr
    with serving(folder) as server, Connection(server.anchors) as connection:
        members = Members(server, task)
        old = members.add("north")
        write(server, tmp_path / "before", old)
        assert witness.visit(connection, datetime.now(UTC)).size == 4
        first = server.anchors
    replace(folder, *POOL_KEYS, "root", "targets", "online")
    with serving(folder) as server:
        assert (server.anchors.root, server.anchors.ca_pem) == (first.root, first.ca_pem), "pool.json stays good"
        assert verify(tmp_path / "before", known_pools.trusted(first)), "offline, by what was known before"
        weights = sites.weights_of(server.pool.blueprint(TINY).blueprint, np.random.default_rng(9))
        packed = members.joined["north"].pack(server.pool, weights)
        new = sites.submit(server.pool, packed).contribution_id
        write(server, tmp_path / "after", new)
        for one in ("before", "after"):
            assert verify(tmp_path / one, known_pools.trusted(first))
            code, said, _ = run("verify", tmp_path / one, "--pool", folder / "pool.json", "--online")
            assert code == 0, said
        with Connection(server.anchors) as connection:
            assert witness.visit(connection, datetime.now(UTC)).size == 6
        assert run("log", "verify", "--pool", folder / "pool.json")[0] == 0
        assert len(server.trusted.log.spans) == len(server.trusted.release.spans) == 2


def test_a_descendant_signed_with_a_replaced_release_key_is_refused(folder, task, tmp_path):
    stolen = SigningKey.from_pem((folder / "keys" / "release.pem").read_bytes())
    replace(folder, "release")
    with serving(folder) as server:
        write(server, tmp_path / "made", Members(server, task).add("north"))
        payload = envelope.parse((tmp_path / "made" / BUNDLE_FILE).read_bytes()).payload
        (tmp_path / "made" / BUNDLE_FILE).write_bytes(envelope.sign_statement(stolen, payload))
        assert reason_of(verify, tmp_path / "made", server.trusted) == "LINEAGE_INVALID"


def test_descendants_of_a_stolen_release_key_are_void_and_the_log_stays_sound(folder, task, tmp_path, run):
    with serving(folder) as server:
        name = Members(server, task).add("north")
        write(server, tmp_path / "before", name)
    replace(folder, "release", compromised=True)
    with serving(folder) as server:
        code, _, said = run("verify", tmp_path / "before", "--pool", folder / "pool.json", "--online")
        assert (code, "stolen" in said) == (6, True)
        assert run("verify", tmp_path / "before", "--pool", folder / "pool.json")[0] == 6, "known offline, too"
        write(server, tmp_path / "after", name)
        assert run("log", "verify", "--pool", folder / "pool.json")[0] == 0


def test_another_ca_is_told_before_it_is_used(folder, tmp_path):
    with serving(folder) as server:
        old = server.anchors
        ask(server)
    with Ceremony.held(PoolFolder(folder), None, datetime.now(UTC)) as at:
        assert reason_of(at.finish_ca) == "OPTION_INVALID"
        at.begin_ca()
        assert reason_of(at.begin_ca) == "OPTION_INVALID"
    with serving(folder) as server:
        both = server.anchors.ca_pem
        assert both.startswith(old.ca_pem)
        old = old.model_copy(update={"address": server.address})
        with Connection(old) as connection:
            assert connection.capabilities()
            assert connection.trusted.ca_pem == both
    with Ceremony.held(PoolFolder(folder), None, datetime.now(UTC)) as at:
        at.finish_ca()
    with serving(folder) as server:
        assert old.ca_pem + server.anchors.ca_pem == both
        old = old.model_copy(update={"address": server.address})
        for _ in range(2):
            with Connection(old) as connection:
                assert connection.capabilities(), "who was told of it goes on with what it pinned once"
                assert connection.trusted.ca_pem == server.anchors.ca_pem
        with Connection(old, trust=tmp_path / "away") as connection:
            assert reason_of(connection.capabilities) == "POOL_UNTRUSTED"
        with Connection(server.anchors, trust=tmp_path / "away") as connection:
            assert connection.capabilities()


# -- the witnesses that are named --------------------------------------------------------------------------------------


def test_only_witnesses_that_the_trust_root_names_hand_in_cosignatures(folder, task, tmp_path, caplog):
    witness = Witness.create(tmp_path / "witness", "witness.example/one")
    text = (folder / "genepool.toml").read_text()
    text = text.replace("witnesses = []", f'witnesses = ["{witness.signer.public.vkey}"]')
    (folder / "genepool.toml").write_text(text)
    with caplog.at_level(logging.WARNING), serving(folder) as server, Connection(server.anchors) as connection:
        Members(server, task).add("north")
        assert "root publish" in caplog.text, "the settings alone name nobody"
        assert reason_of(witness.visit, connection, datetime.now(UTC)) == "KEY_UNKNOWN"


def test_verifying_asks_the_pool_once_and_never_again(folder, task, tmp_path, run):
    with serving(folder) as server:
        name = Members(server, task).add("north")
        write(server, tmp_path / "made", name)
        shutil.rmtree(user_folders.home() / "trust")
        assert run("verify", tmp_path / "made", "--pool", folder / "pool.json")[0] == 0
    assert run("verify", tmp_path / "made", "--pool", folder / "pool.json")[0] == 0, "the pool is away"
    shutil.rmtree(user_folders.home() / "trust")
    assert run("verify", tmp_path / "made", "--pool", folder / "pool.json")[0] == 5, "and nothing is known"
