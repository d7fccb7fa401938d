"""The trust root as a client follows it: what the operator says arrives; nothing older, mixed, foreign or endless."""

import itertools
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from genepool_protocol.trust import updating
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from tests.support.trust import TrustRoot, signers, trusted

LOG, RELEASE, OTHER = LogSigner.generate("pool.test/log").public, SigningKey.generate(), SigningKey.generate()
FIRST = trusted(LOG, RELEASE.public)
SECOND = signers(FIRST, release=OTHER.public)
DAY = timedelta(days=1)


def now():
    return datetime.now(UTC)


@pytest.fixture
def root(tmp_path):
    return TrustRoot(tmp_path / "root", FIRST)


@pytest.fixture
def client(tmp_path, root):
    return Client(tmp_path / "client", root)


class Client:
    """A client of a trust root, whose memory is a folder."""

    def __init__(self, folder, root):
        self.folder, self.anchors, self.root = folder, root.anchors(), root

    def refresh(self, fetch=None):
        return updating.refresh(self.anchors, self.folder, fetch or self.root.fetch, now())

    def refused(self, fetch=None) -> str:
        with pytest.raises(GenepoolError) as caught:
            self.refresh(fetch)
        self.evidence = caught.value.metadata.get("evidence", "")
        return caught.value.reason

    def cached(self):
        return updating.cached(self.anchors, self.folder)


def publish(root, content, at=None):
    root.repository.publish(content, [root.targets], root.online, at or now())


def test_what_the_operator_publishes_arrives_and_is_known_offline(root, client):
    assert client.cached() is None
    assert client.refresh() == client.cached() == FIRST
    publish(root, SECOND)
    assert client.cached() == FIRST, "nobody was asked"
    assert client.refresh() == client.cached() == SECOND


def test_a_root_that_is_up_to_date_costs_two_files(root, client):
    client.refresh()
    asked = []

    def fetch(name):
        asked.append(name)
        return root.fetch(name)

    assert client.refresh(fetch) == FIRST
    assert asked == ["2.root.json", "timestamp.json"]


# -- attack 58 ---------------------------------------------------------------------------------------------------------


def test_a_rolled_back_trust_root_is_refused_with_evidence(root, client):
    before = root.files()
    publish(root, SECOND)
    client.refresh()
    root.served = before
    assert client.refused() == "TRUST_ROLLBACK"
    assert Path(client.evidence).read_bytes() == before["timestamp.json"]
    assert client.cached() == SECOND


def test_a_rolled_back_snapshot_under_a_fresh_timestamp_is_refused(root, client, tmp_path):
    shutil.copytree(root.folder, tmp_path / "before")
    publish(root, SECOND)
    client.refresh()
    older = type(root.repository)(tmp_path / "before")
    for _ in range(3):  # the online key signs fresh timestamps over the old snapshot
        older._timestamp(older.timestamp(), [root.online], now())
    root.served = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert client.refused() == "TRUST_ROLLBACK"


def test_a_frozen_trust_root_is_refused(root, client):
    client.refresh()
    root.repository.refresh([root.online], now() - timedelta(hours=2), force=True)
    assert client.refused() == "TRUST_EXPIRED"
    root.repository.refresh([root.online], now(), force=True)
    assert client.refresh() == FIRST


def test_a_root_by_somebody_else_is_refused(root, client, tmp_path):
    client.refresh()
    rogue = TrustRoot(tmp_path / "rogue", SECOND)
    rogue.repository.change_root(lambda _root: None, [rogue.root], now())
    root.served = rogue.files()
    assert client.refused() == "TRUST_INVALID"
    assert client.cached() == FIRST


def test_another_pools_trust_root_is_refused_from_the_first_moment(root, client, tmp_path):
    root.served = TrustRoot(tmp_path / "other", SECOND).files()
    assert client.refused() == "TRUST_INVALID"
    assert client.cached() is None


@pytest.mark.parametrize("name", ["targets", "snapshot", "target"])
def test_files_of_two_versions_do_not_mix(root, client, name):
    old, old_snapshot = root.files(), root.name("snapshot")
    publish(root, SECOND)
    new = {name: raw for name, raw in root.files().items() if name not in old}
    old_target, new_target = (next(one for one in files if one.endswith(".trusted.json")) for files in (old, new))
    swapped = {
        "targets": ("2.targets.json", "1.targets.json"),
        "snapshot": (root.name("snapshot"), old_snapshot),
        "target": (new_target, old_target),
    }
    shown, true = swapped[name]
    root.served = {shown: old[true]}
    assert client.refused() == "TRUST_INVALID"


def test_the_online_key_cannot_say_what_the_keys_are(root, client):
    forged = Metadata(Targets(version=2, expires=now() + DAY))
    raw = SECOND.encode()
    root.repository.publish(SECOND, [root.targets], root.online, now())
    true = Metadata[Targets].from_bytes(root.repository.read("2.targets.json"))
    forged.signed.targets = true.signed.targets
    forged.sign(root.online)
    snapshot = root.repository.snapshot()
    snapshot.meta["targets.json"].hashes = None
    snapshot.meta["targets.json"].length = None
    root.repository._snapshot(snapshot, root.repository.timestamp(), [root.online], now())
    root.served = {"2.targets.json": forged.to_bytes()}
    assert client.refused() == "TRUST_INVALID"
    assert raw in root.files().values()


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "snapshot", "1.targets.json", "target"])
def test_data_without_an_end_is_cut_off(root, client, name):
    if name == "target":
        name = next(one for one in root.files() if one.endswith(".trusted.json"))
    if name == "snapshot":
        name = root.name(name)
    taken = 0

    def fetch(asked):
        nonlocal taken
        if asked != name:
            yield from root.fetch(asked)
            return
        for _ in itertools.count():
            taken += 1 << 14
            yield b" " * (1 << 14)

    assert client.refused(fetch) == "TRUST_INVALID"
    assert taken <= LIMITS.trust_bytes + (1 << 14)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 20_000, b'{"signed":{"_type":"timestamp"}}', b"\xff" * 100])
@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "snapshot", "1.targets.json"])
def test_what_is_no_metadata_is_refused(root, client, name, raw):
    root.served = {root.name(name) if name == "snapshot" else name: raw}
    assert client.refused() == "TRUST_INVALID"


def test_a_withheld_file_is_refused(root, client):
    for name in ("timestamp.json", root.name("snapshot"), "1.targets.json"):
        root.served = {name: None}
        assert client.refused() == "TRUST_INVALID", name


# -- attack 59 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "reason"), [(-24, "TRUST_EXPIRED"), (-0.3, ""), (0, ""), (0.3, ""), (24, "CLOCK_WRONG")]
)
def test_a_clock_that_is_a_day_off_is_noticed_and_some_minutes_are_forgiven(root, client, hours, reason):
    """The pool's clock is moved against the client's: a client's clock that is a day ahead sees a day-old timestamp."""
    root.repository.refresh([root.online], now() + timedelta(hours=hours), force=True)
    assert (client.refused() if reason else client.refresh() and "") == reason
    root.repository.refresh([root.online], now())
    assert client.refresh() == FIRST, "a clock that was put right"


def test_a_pool_that_was_restored_from_a_backup_is_followed_again(root, client, tmp_path):
    shutil.copytree(root.folder, tmp_path / "backup")
    for hours in range(-5, 1):
        root.repository.refresh([root.online], now() + timedelta(hours=hours), force=True)
    client.refresh()
    shutil.copytree(tmp_path / "backup", root.folder, dirs_exist_ok=True)
    assert client.refused() == "TRUST_ROLLBACK"
    root.repository.refresh([root.online], now() + timedelta(minutes=10), force=True)
    assert client.refresh() == FIRST


# -- keys of the trust root --------------------------------------------------------------------------------------------


def two_of_two(root):
    second = CryptoSigner.generate_ed25519()

    def edit(signed):
        signed.add_key(second.public_key, "root")
        signed.roles["root"].threshold = 2

    root.repository.change_root(edit, [root.root, second], now())
    return second


def test_a_threshold_of_two_needs_two(root, client):
    second = two_of_two(root)
    assert client.refresh() == FIRST
    with pytest.raises(GenepoolError) as caught:
        root.repository.change_root(lambda _root: None, [root.root], now())
    assert caught.value.reason == "KEY_UNKNOWN"
    made = root.repository.root()
    made.signed.version += 1
    made.sign(root.root)
    root.served = {"3.root.json": made.to_bytes()}
    assert client.refused() == "TRUST_INVALID", "one signature of two"
    made.sign(second, append=True)
    root.served = {"3.root.json": made.to_bytes()}
    assert client.refresh() == FIRST


def test_a_replaced_online_key_is_worth_nothing(root, client):
    client.refresh()
    old, root.online = root.online, CryptoSigner.generate_ed25519()
    root.repository.refresh([old, root.online], now(), force=True)

    def edit(signed):
        for role in ("snapshot", "timestamp"):
            signed.revoke_key(old.public_key.keyid, role)
            signed.add_key(root.online.public_key, role)

    root.repository.change_root(edit, [root.root], now())
    assert client.refresh() == FIRST
    root.repository.refresh([old], now(), force=True)
    assert client.refused() == "TRUST_INVALID"
    root.repository.refresh([root.online], now(), force=True)
    assert client.refresh() == FIRST


@pytest.mark.parametrize("name", ["targets.json", "trusted.json", "root_history/2.root.json"])
def test_a_memory_that_was_changed_is_refused(root, client, name):
    two_of_two(root)
    client.refresh()
    path = client.folder / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(GenepoolError) as caught:
        client.cached()
    assert caught.value.reason == "TRUST_INVALID"


def test_a_root_that_is_no_root_is_refused(client):
    client.anchors = client.anchors.model_copy(update={"root": json.dumps({"signed": {}})})
    assert client.refused() == "TRUST_INVALID"


@pytest.mark.parametrize(
    "name", ["", "root.json", "0.root.json", "../keys/online.pem", "1.root.json\n", "x/1.root.json", "1.keys.json"]
)
def test_only_files_of_a_trust_root_are_read(root, name):
    with pytest.raises(GenepoolError) as caught:
        root.repository.read(name)
    assert caught.value.reason == "FILE_MISSING"
