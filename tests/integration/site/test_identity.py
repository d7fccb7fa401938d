"""A site's certificate and keys: fetched, renewed, replaced and lost, and what its people are told."""

import contextlib
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from genepool_client.consumer.pool import Pool
from genepool_client.site import credentials, enrolment, keyring, outbox, overview
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_json
from genepool_protocol.trust.anchors import Invite
from genepool_protocol.trust.enrolment import make_csr
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_server.tls import client_ca
from tests.integration.site.world import World, condensed, refused, submit
from tests.support.server import Server, pool_server


def issued(world: World, site: SiteFolder, **changes) -> TlsIdentity:
    """The site's TLS key with a certificate of its pool's CA that began and ended when we like."""
    start, life = changes.get("start", timedelta(0)), changes.get("life", timedelta(days=90))
    key = site.keys.tls().key
    issuer = client_ca.Issuer(world.pool.folder / "keys", world.trusted.origin, life)
    pem = issuer.issue(key.public, site.config.name, datetime.now(UTC) + start)
    return site.keys.keep_certificate(key, pem)


@pytest.fixture
def old(monkeypatch):
    """Lets the client believe that so many days have gone by."""

    def go(days: float) -> None:
        now = datetime.now(UTC) + timedelta(days=days)

        class Later(datetime):
            @classmethod
            def now(cls, tz=None):
                return now

        monkeypatch.setattr(credentials, "datetime", Later)

    return go


def test_the_certificate_is_fetched_once_the_operator_has_approved(world):
    site = world.site("fetching", approve=False)
    assert refused(credentials.connect, site).reason == "SITE_NOT_ACTIVE"
    assert "genepool-server approve fetching" in refused(credentials.connect, site).fix
    world.approve("fetching")
    first = credentials.ready(site)
    assert first.chain
    assert credentials.ready(site).chain == first.chain
    mode = stat.S_IMODE((site.path / "keys" / "tls.pem").stat().st_mode)
    assert (mode, stat.S_IMODE((site.path / "keys").stat().st_mode)) == (0o600, 0o700)
    assert first.key.public != site.keys.public
    assert overview.overview(site)["certificate_ends"].startswith(f"{first.ends:%Y-%m-%d}")


def test_a_site_that_never_enrolled_is_told_to(world, tmp_path):
    site = enrolment.init(tmp_path / "site", enrolment.Setup(invite=world.invited("lazy")))
    error = refused(credentials.connect, site)
    assert (error.reason, error.fix) == ("SITE_UNKNOWN", "enrol first")


@pytest.mark.parametrize(("days", "renews"), [(59, False), (61, True)])
def test_a_certificate_is_renewed_with_another_key_when_two_thirds_are_over(world, old, days, renews):
    site = world.site(f"renewing-{days}")
    first = credentials.ready(site)
    old(days)
    second = credentials.ready(site)
    assert (second.key.public != first.key.public) is (second.chain != first.chain) is renews
    condensed(site, days)
    assert submit(site).seq == 1


def test_a_renewal_that_was_interrupted_anywhere_is_finished(world, old):
    site = world.site("interrupted")
    first = credentials.ready(site)
    lost = site.keys.next_tls()  # it was killed here, or after the pool had answered:
    with Connection(site.config.anchors, identity=first) as connection:
        answer = connection.call(connection.account.Renew, pb.RenewRequest(tls_csr=make_csr(lost.key)))
    old(61)
    second = credentials.ready(site)
    assert (second.key.public, second.chain.decode()) == (lost.key.public, answer.certificate_pem)
    assert not (site.path / "keys" / "tls.next.pem").exists()


def test_a_pool_that_is_away_does_not_stop_a_certificate_that_is_still_valid(world, old):
    site = world.site("patient-site")
    first = credentials.ready(site)
    site.change(anchors={**site.config.anchors.model_dump(by_alias=True), "address": "127.0.0.1:1"})
    old(61)
    assert credentials.ready(site).chain == first.chain


def test_a_certificate_that_ended_is_said_so_without_asking_the_pool(world, old):
    site = world.site("sleepy")
    credentials.ready(site)
    old(91)
    error = refused(credentials.ready, site)
    assert (error.reason, "--again" in error.fix) == ("CERT_EXPIRED", True)


def test_a_handshake_that_the_pool_ends_is_explained_in_one_sentence(world, tmp_path):
    site = world.site("rejected")
    credentials.ready(site)
    expired = issued(world, site, start=-timedelta(days=9), life=timedelta(days=1))
    foreign_keys = tmp_path / "keys"
    foreign_keys.mkdir(mode=0o700)
    client_ca.create(foreign_keys, datetime.now(UTC))
    issuer = client_ca.Issuer(foreign_keys, world.trusted.origin, timedelta(days=9))
    for identity, why in (
        (expired, "it has expired"),
        (issuer, "this pool did not issue it"),
    ):
        shown = identity
        if isinstance(identity, client_ca.Issuer):
            key = site.keys.tls().key
            shown = site.keys.keep_certificate(key, identity.issue(key.public, "rejected", datetime.now(UTC)))
        with Connection(site.config.anchors, identity=shown) as connection:
            request = pb.BeginNonceRequest(site="rejected")
            error = refused(connection.call, connection.contribute.BeginNonce, request)
        assert error.reason == "CERT_REJECTED"
        assert why in error.message
        assert "\n" not in error.message


def joined(server: Server, folder: Path, **terms) -> SiteFolder:
    """An approved site of a server that runs in this process."""
    made = server.pool.sites.invite(folder.name, datetime.now(UTC), **terms)
    values = {"invite_id": made.invite_id, "secret": made.secret, "expires": made.expires}
    invite = Invite(site=folder.name, anchors=server.anchors, **values)
    path = write_json(folder.with_suffix(".json"), invite.model_dump(by_alias=True))
    site = enrolment.init(folder, enrolment.Setup(invite=path))
    with Connection(site.config.anchors) as connection:
        enrolment.enrol(site, connection)
    server.pool.sites.approve(folder.name)
    return site


def test_a_pool_that_is_down_is_not_taken_for_one_that_rejects(tmp_path):
    with contextlib.ExitStack() as later:
        with pool_server(tmp_path) as server:
            site = joined(server, tmp_path / "early")
            identity = credentials.ready(site)
            connection = later.enter_context(Connection(site.config.anchors, timeout=5, identity=identity))
            connection.call(connection.contribute.BeginNonce, pb.BeginNonceRequest(site="early"))
        error = refused(connection.call, connection.contribute.BeginNonce, pb.BeginNonceRequest(site="early"))
    assert error.reason == "POOL_UNREACHABLE"


def test_a_key_that_others_can_read_is_not_used(world):
    site = world.site("open")
    credentials.ready(site)
    keys = site.path / "keys"
    for path, mode in ((keys, 0o755), (keys / "tls.pem", 0o644)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert refused(credentials.ready, site).reason == "KEY_EXPOSED"
        path.chmod(before)
    (keys / "signing.pem").chmod(0o640)
    assert refused(SiteFolder(site.path).signing_key).reason == "KEY_EXPOSED"


def test_a_signing_key_under_a_passphrase_signs_when_it_is_known(world, monkeypatch):
    monkeypatch.setenv(keyring.ANSWER, "horse")
    secret = keyring.new_passphrase(wanted=False)
    setup = enrolment.Setup(invite=world.invited("sealed"), steps=2, passphrase=secret)
    site = enrolment.init(world.root / "sealed", setup)
    assert SigningKey.encrypted((site.path / "keys" / "signing.pem").read_bytes())
    with Connection(site.config.anchors) as connection:
        enrolment.enrol(site, connection)
    world.approve("sealed")
    condensed(site, 40)
    monkeypatch.setenv(keyring.ANSWER, "hors")
    site = SiteFolder(site.path)
    assert refused(submit, site).reason == "PASSPHRASE_INVALID"
    monkeypatch.delenv(keyring.ANSWER)
    assert refused(submit, site).reason == "PASSPHRASE_INVALID"  # and nobody is at the terminal
    assert overview.overview(site)["state"] == "ACTIVE"  # what signs nothing asks for nothing
    monkeypatch.setenv(keyring.ANSWER, "horse")
    assert submit(site).seq == 1


def test_a_signing_key_is_rotated_and_what_it_signed_stays(world):
    site = world.site("rotating")
    condensed(site, 41)
    first = submit(site)
    before = site.keys.public
    (site.path / "keys" / "signing.next.pem").unlink(missing_ok=True)
    pending = site.keys.next_signing(None)  # killed right after it was made
    ends = credentials.rotate_signing(site, None)
    assert (site.keys.public, site.keys.public_of(before.keyid)) == (pending.public, before)
    assert datetime.fromisoformat(ends) > datetime.now(UTC) + timedelta(days=6)
    assert submit(site) == first  # its receipt still counts
    condensed(site, 42)
    second = submit(site)
    assert second.seq == 2
    assert outbox.Artefact(site.outbox / "2").check(site.keys.public)


def test_a_site_that_lost_its_keys_begins_anew_with_a_new_invitation(world):
    site = world.site("keyless")
    condensed(site, 43)
    submit(site)
    before = site.keys.public
    invite = world.invited("keyless", again=True)
    with credentials.connect(site) as connection:
        request = pb.BeginNonceRequest(site="keyless")
        error = refused(connection.call, connection.contribute.BeginNonce, request)
    assert error.reason == "SITE_NOT_ACTIVE"
    enrolment.replace_invite(site, invite)
    assert site.keys.public != before
    with Connection(site.config.anchors) as connection:
        assert enrolment.enrol(site, connection).state == "PENDING"
    world.approve("keyless")
    condensed(site, 44)
    assert submit(site).seq == 2


def test_attack_35_the_client_waits_as_long_as_the_pool_says(tmp_path):
    request = pb.BeginNonceRequest(site="eager")
    with pool_server(tmp_path, quotas={"calls_per_minute": 20}) as server:
        site, begun = joined(server, tmp_path / "eager"), time.monotonic()
        with credentials.connect(site) as connection:
            for _ in range(21):
                connection.call(connection.contribute.BeginNonce, request)
            assert time.monotonic() - begun > 2
            error = refused(connection.call, connection.contribute.BeginNonce, request, timeout=0.5)
    assert error.reason == "RATE_EXCEEDED"
    # the last refusal was held back and the wait after it was longer by chance, so a part of a turn is there
    assert error.metadata["retry_seconds"] in {"1", "2", "3"}


def test_a_consumer_shows_a_certificate_where_the_pool_asks_for_one(tmp_path):
    with pool_server(tmp_path, anonymous_consumers="nobody") as server:
        joined(server, tmp_path / "reader", roles=("consumer",))
        with Pool(server.address, server.anchors) as pool:
            assert refused(pool.descend).reason == "CERT_REQUIRED"
        with Pool(server.address, server.anchors, identity=tmp_path / "reader") as pool:
            assert pool.descend() is not None


RUN = "from genepool_client.commands.site import app; from genepool_console import terminal; terminal.run(app, 'site')"


def test_the_rotate_command_replaces_either_key(world):
    site = world.site("typing")
    before = credentials.ready(site)
    for key in ("tls", "signing"):
        words = [sys.executable, "-c", RUN, "rotate", str(site.path), "--key", key, "--json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert site.keys.tls().key.public != before.key.public
    assert len(list((site.path / "keys" / "old").iterdir())) == 1
    condensed(site, 45)
    assert submit(site).seq == 1
