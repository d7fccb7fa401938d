"""The SuperNode's guard: it judges the very objects that would be uploaded, and starts only where it was verified."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from genepool_client.site import outbox
from genepool_client.site.flower import egress, supernode
from genepool_client.site.flower.egress import Egress
from genepool_client.site.outbox import Artefact
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import digest, envelope, statement
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError


@pytest.fixture
def site(tmp_path):
    """A site whose outbox has one contribution with a receipt (of which the guard reads the id alone)."""
    made = SimpleNamespace(path=tmp_path, outbox=tmp_path / "outbox", config=SimpleNamespace(fabs=[]))
    folder = made.outbox / "1"
    folder.mkdir(parents=True)
    payload = statement.model_statement("learngene", {"learngene.safetensors": "ab" * 32}, ignore=[])
    (folder / BUNDLE_FILE).write_bytes(envelope.sign_statement(SigningKey.generate(), payload))
    (folder / outbox.RECEIPT_FILE).touch()
    return made


def receipt(site, **changes) -> ConfigRecord:
    values = {
        "contribution-id": Artefact(site.outbox / "1").contribution_id,
        "sha256": "cd" * 32,
        "size-bytes": 7,
        "status": "ACTIVE",
        "code": "0.1.0+0",
    }
    return ConfigRecord(values | changes)


def verdict(site, records: dict, lost: str = "") -> str | None:
    """What the guard says to a reply with these records, as Flower takes it apart for sending."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    asked = Message(RecordDict(), 7, "query.contribute")
    asked.metadata.__dict__["_message_id"] = "id"
    reply = Message(RecordDict(records), reply_to=asked)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    store = {name: item.deflate() for name, item in get_all_nested_objects(reply).items()}
    if lost:
        store = {name: raw for name, raw in store.items() if not raw.startswith(lost.encode())}
    return Egress(site).refusal(store.get, get_object_tree(reply))


def test_a_receipt_for_a_contribution_of_the_outbox_may_leave(site):
    assert verdict(site, {"receipt": receipt(site)}) is None


def test_everything_else_stays(site):
    weights = ArrayRecord({"w": Array(np.zeros(50_000, dtype=np.float32))})
    replies = [
        {"receipt": receipt(site), "weights": weights},
        {"receipt": weights},
        {"receipt": receipt(site), "more": ConfigRecord({"x": 1})},
        {},
        {"patient-4711": receipt(site)},
        {"receipt": receipt(site, status="x" * 129)},
        {"receipt": receipt(site, more="x")},
        {"receipt": receipt(site, **{"contribution-id": "ef" * 32})},
        {"receipt": ConfigRecord({"blob": b"x" * 5000})},
    ]
    verdicts = [verdict(site, records) for records in replies]
    assert all(verdicts), verdicts


def test_an_object_that_never_comes_is_not_waited_for_for_ever(site, monkeypatch):
    assert verdict(site, {"receipt": receipt(site)}, lost="ConfigRecord") == "an object of it is missing"
    monkeypatch.setattr(egress, "_PATIENCE", 0.2)
    reply = Message(RecordDict({"receipt": receipt(site)}), 7, "query.contribute")
    assert Egress(site).refusal(lambda _name: b"", get_object_tree(reply)) == "an object of it is missing"


def test_only_listed_bundles_run(site):
    assert not Egress(site).accepts(b"bundle")
    site.config.fabs = [f"sha256:{digest.sha256_hex(b'bundle')}"]
    assert Egress(site).accepts(b"bundle")
    assert not Egress(site).accepts(b"another")


def test_it_fails_closed(site, monkeypatch):
    link = supernode.Link("127.0.0.1:1", None, None, 9094)
    with pytest.raises(GenepoolError) as caught:
        supernode.run(site, link)
    assert caught.value.reason == "CONFIG_INVALID"
    with pytest.raises(GenepoolError) as caught:
        supernode.install(Egress(site), ModuleType("client"), ModuleType("command"))
    assert caught.value.reason == "API_VERSION"
    monkeypatch.setattr("genepool_protocol.machine.flower.version", lambda _name: "1.42.0")
    with pytest.raises(GenepoolError) as caught:
        supernode.run(site, link)
    assert caught.value.reason == "API_VERSION"


def test_the_node_knows_its_site_and_uses_tls_when_it_can(site, tmp_path):
    words = supernode.arguments(site, supernode.Link("pool:1", tmp_path / "ca.crt", tmp_path / "key", 9000))
    assert f'site-dir="{tmp_path}"' in words
    assert "--insecure" not in words
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--insecure" in supernode.arguments(site, supernode.Link("127.0.0.1:1", None, None, 9000))


@pytest.mark.parametrize("address", ["pool:1", "192.0.2.1:9092", "[2001:db8::1]:9092", "127.0.0.1.example:1"])
def test_a_superlink_elsewhere_is_not_spoken_to_in_the_clear(site, address):
    with pytest.raises(GenepoolError) as caught:
        supernode.arguments(site, supernode.Link(address, None, None, 9000))
    assert caught.value.reason == "OPTION_INVALID"
    assert "in the clear" in caught.value.message
    assert supernode.arguments(site, supernode.Link("[::1]:9092", None, None, 9000))
