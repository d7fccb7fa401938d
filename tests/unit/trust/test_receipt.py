"""A receipt proves that one log holds one statement by one key, and nothing less."""

import base64
import json

import pytest

from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import checkpoint, envelope, merkle, receipt, statement
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError
from tests.support.leaves import payload_sha256
from tests.support.log import Log

KEY = SigningKey.generate()


def bundle(number: int) -> bytes:
    digests = {"learngene.safetensors": f"{number:064x}", "manifest.json": "b" * 64}
    return envelope.sign_statement(KEY, statement.model_statement("learngene", digests, ignore=[BUNDLE_FILE]))


@pytest.fixture(scope="module")
def log() -> Log:
    log = Log()
    for number in range(11):
        log.append(bundle(number), KEY)
    return log


@pytest.fixture(scope="module")
def raw(log) -> bytes:
    return log.append(bundle(99), KEY)[1]


def verify(raw: bytes, log: Log, key=KEY):
    parsed = envelope.parse(raw)
    return receipt.verify(parsed, envelope.verify(parsed, key.public), log.key)


def refused(raw: bytes, log: Log) -> str:
    with pytest.raises(GenepoolError) as caught:
        verify(raw, log)
    return caught.value.reason


def changed(raw: bytes, edit) -> bytes:
    value = json.loads(raw)
    edit(value["verificationMaterial"]["tlogEntries"][0])
    return json.dumps(value).encode()


def test_a_receipt_holds(log, raw):
    logged = verify(raw, log)
    assert (logged.index, logged.checkpoint.size, logged.verified.payload) == (11, 12, envelope.parse(raw).payload)


def test_every_receipt_of_a_log_holds_under_every_later_head(log):
    for index in range(11):
        parsed = envelope.parse(bundle(index))
        body = receipt.leaf(envelope.verify(parsed, KEY.public))
        for size in range(index + 1, 12):
            assert verify(log.receipt(parsed, body, index, size), log).index == index


def test_a_leaf_names_the_payload_and_nothing_of_the_site():
    verified = envelope.verify(envelope.parse(bundle(1)), KEY.public)
    body = receipt.leaf(verified)
    assert (
        payload_sha256(body)
        == statement.check_model_statement(
            verified, "learngene", ("learngene.safetensors", "manifest.json"), ignore=[BUNDLE_FILE]
        ).payload_sha256
    )
    assert len(body) < 600


def test_a_bundle_that_was_not_logged_is_no_receipt(log):
    assert refused(bundle(3), log) == "PROOF_INVALID"


def test_another_logs_receipt_is_refused(log, raw):
    assert refused(raw, Log()) == "CHECKPOINT_INVALID"
    assert refused(raw, Log("other/log")) == "CHECKPOINT_INVALID"


def test_a_receipt_moved_to_another_statement_is_refused(log, raw):
    value, other = json.loads(raw), json.loads(bundle(5))
    other["verificationMaterial"]["tlogEntries"] = value["verificationMaterial"]["tlogEntries"]
    assert refused(json.dumps(other).encode(), log) == "PROOF_INVALID"


def test_a_receipt_of_the_same_statement_under_another_key_is_refused(log, raw):
    thief = SigningKey.generate()
    value = json.loads(envelope.sign_statement(thief, envelope.parse(raw).payload))
    value["verificationMaterial"]["tlogEntries"] = json.loads(raw)["verificationMaterial"]["tlogEntries"]
    with pytest.raises(GenepoolError) as caught:
        verify(json.dumps(value).encode(), log, thief)
    assert caught.value.reason == "PROOF_INVALID"


def proof(edit):
    return lambda entry: edit(entry["inclusionProof"])


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda e: e.update(logIndex="10"), "PROOF_INVALID"),
        (lambda e: (e.update(logIndex="10"), e["inclusionProof"].update(logIndex="10")), "PROOF_INVALID"),
        (lambda e: e.update(logIndex="12"), "PROOF_INVALID"),
        (lambda e: e.update(logIndex=11), "BUNDLE_MALFORMED"),
        (lambda e: e.update(logIndex="011"), "BUNDLE_MALFORMED"),
        (lambda e: e.update(logIndex="-1"), "BUNDLE_MALFORMED"),
        (lambda e: e.update(logIndex="\N{SUPERSCRIPT TWO}"), "BUNDLE_MALFORMED"),
        (lambda e: e.update(logIndex="9" * 16), "BUNDLE_MALFORMED"),
        (lambda e: e.update(logId={"keyId": base64.b64encode(bytes(32)).decode()}), "PROOF_INVALID"),
        (lambda e: e.update(kindVersion={"kind": "hashedrekord", "version": "0.0.2"}), "PROOF_INVALID"),
        (lambda e: e.update(integratedTime="1"), "PROOF_INVALID"),
        (lambda e: e.update(inclusionPromise={}), "PROOF_INVALID"),
        (lambda e: e.pop("integratedTime"), "PROOF_INVALID"),
        (lambda e: e.pop("logIndex"), "BUNDLE_MALFORMED"),
        (lambda e: e.pop("inclusionProof"), "BUNDLE_MALFORMED"),
        (lambda e: e.update(inclusionProof="x"), "BUNDLE_MALFORMED"),
        (lambda e: e.update(canonicalizedBody="e30="), "PROOF_INVALID"),
        (lambda e: e.update(canonicalizedBody="e30"), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(logIndex="10")), "PROOF_INVALID"),
        (proof(lambda p: p.update(treeSize="13")), "PROOF_INVALID"),
        (proof(lambda p: p.update(rootHash=base64.b64encode(bytes(32)).decode())), "PROOF_INVALID"),
        (proof(lambda p: p["hashes"].pop()), "PROOF_INVALID"),
        (proof(lambda p: p["hashes"].reverse()), "PROOF_INVALID"),
        (proof(lambda p: p["hashes"].append(p["hashes"][0])), "PROOF_INVALID"),
        (proof(lambda p: p["hashes"].__setitem__(0, "AAAA")), "PROOF_INVALID"),
        (proof(lambda p: p["hashes"].__setitem__(0, "AAA")), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(hashes=7)), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(hashes={"a": 1})), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(checkpoint={})), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(checkpoint={"envelope": None})), "BUNDLE_MALFORMED"),
        (proof(lambda p: p.update(checkpoint={"envelope": ""})), "CHECKPOINT_INVALID"),
        (proof(lambda p: p["checkpoint"].update(more=1)), "PROOF_INVALID"),
        (proof(lambda p: p.update(more=1)), "PROOF_INVALID"),
    ],
)
def test_a_receipt_with_another_entry_is_refused(log, raw, edit, reason):
    assert refused(changed(raw, edit), log) == reason


def test_another_checkpoint_of_the_same_log_is_refused(log, raw):
    """Signed by the log, but over another tree than the proof."""
    for size in range(1, 12):
        other = log.head(size).note
        assert (
            refused(changed(raw, proof(lambda p, n=other: p["checkpoint"].update(envelope=n))), log) == "PROOF_INVALID"
        )
    forged = checkpoint.sign(12, merkle.leaf_hash(b"another tree"), log.signer).note
    edit = proof(lambda p: p["checkpoint"].update(envelope=forged))
    assert refused(changed(raw, edit), log) == "PROOF_INVALID"


def test_a_proof_swapped_with_a_neighbours_is_refused(log, raw):
    swapped = [base64.b64encode(h).decode() for h in log.tree.inclusion(10, 12)]
    assert refused(changed(raw, proof(lambda p: p.update(hashes=swapped))), log) == "PROOF_INVALID"


def test_what_a_manifest_observes_is_size_and_root(log):
    assert receipt.observed_root(None) == (0, "")
    head = log.head()
    assert receipt.observed_root(head) == (head.size, base64.b64encode(head.root).decode())
