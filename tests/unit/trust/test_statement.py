"""The signed statement names exactly the files that it must."""

import hashlib
import json

import pytest

from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import envelope, statement, strict_json
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import InvalidInput

KEY = SigningKey.generate()
DIGESTS = {"manifest.json": "b" * 64, "learngene.safetensors": "a" * 64}
RAW = statement.model_statement("learngene", DIGESTS, ignore=[BUNDLE_FILE])


def check(payload: bytes, names=("learngene.safetensors", "manifest.json"), subject="learngene"):
    verified = envelope.verify(envelope.parse(envelope.sign_statement(KEY, payload)), KEY.public)
    return statement.check_model_statement(verified, subject, names, ignore=[BUNDLE_FILE])


def refused(payload: bytes, **options) -> str:
    with pytest.raises(InvalidInput) as caught:
        check(payload, **options)
    return caught.value.reason


def changed(edit) -> bytes:
    value = json.loads(RAW)
    edit(value)
    return json.dumps(value).encode()


def test_a_statement_comes_back_with_its_files_and_its_name():
    found = check(RAW)
    assert found.digests == DIGESTS
    assert found.payload_sha256 == hashlib.sha256(RAW).hexdigest()


def test_the_subject_is_the_digest_of_the_digests_in_name_order():
    value = json.loads(RAW)
    whole = hashlib.sha256(bytes.fromhex("a" * 64 + "b" * 64)).hexdigest()
    assert value["subject"] == [{"name": "learngene", "digest": {"sha256": whole}}]
    assert strict_json.canonical(value) == RAW


def test_spacing_is_the_signers_business():
    assert check(json.dumps(json.loads(RAW), indent=3).encode()).digests == DIGESTS


def resources(value):
    return value["predicate"]["resources"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda v: v.update(predicateType="https://model_signing/signature/v0.2"),
        lambda v: v.update(extra=1),
        lambda v: v.pop("predicate"),
        lambda v: v.update(predicate=[]),
        lambda v: v["subject"][0].update(name="descendant"),
        lambda v: v["subject"][0]["digest"].update(sha256="0" * 64),
        lambda v: v["subject"].append(v["subject"][0]),
        lambda v: v["predicate"]["serialization"].update(allow_symlinks=True),
        lambda v: v["predicate"]["serialization"].update(allow_symlinks=0),
        lambda v: v["predicate"]["serialization"].update(hash_type="blake2b"),
        lambda v: v["predicate"]["serialization"].update(method="shards"),
        lambda v: v["predicate"]["serialization"].update(ignore_paths=[BUNDLE_FILE, "more"]),
        lambda v: resources(v).reverse(),
        lambda v: resources(v).pop(),
        lambda v: resources(v).clear(),
        lambda v: resources(v).append(resources(v)[0]),
        lambda v: resources(v).append({"name": "more", "algorithm": "sha256", "digest": "c" * 64}),
        lambda v: resources(v).append({"name": 7, "algorithm": "sha256", "digest": "c" * 64}),
        lambda v: resources(v)[0].update(name=["learngene.safetensors"]),
        lambda v: resources(v)[0].update(name="../learngene.safetensors"),
        lambda v: resources(v)[0].update(digest="A" * 64),
        lambda v: resources(v)[0].update(digest="a" * 63),
        lambda v: resources(v)[0].update(digest=None),
        lambda v: resources(v)[0].update(algorithm="sha512"),
        lambda v: resources(v)[0].update(annotations={}),
        lambda v: resources(v)[0].pop("digest"),
        lambda v: v["predicate"].update(resources={"name": "x"}),
        lambda v: v["predicate"].update(resources=7),
    ],
)
def test_every_other_statement_is_refused(edit):
    assert refused(changed(edit)) == "STATEMENT_MALFORMED"


def test_other_names_or_another_subject_are_refused():
    assert refused(RAW, names=("manifest.json",)) == "STATEMENT_MALFORMED"
    assert refused(RAW, names=("learngene.safetensors", "manifest.json", "more")) == "STATEMENT_MALFORMED"
    assert refused(RAW, subject="descendant") == "STATEMENT_MALFORMED"


def test_a_payload_that_is_no_strict_json_is_refused():
    assert refused(RAW[:-1] + b',"_type":"x"}') == "JSON_MALFORMED"
    assert refused(b"\xff") == "JSON_MALFORMED"
    assert refused(b"[]") == "STATEMENT_MALFORMED"
