"""OpenSSF Model Signing v1.0: our bundles conform to the schemas, vectors are told apart, its tool takes our files."""

import base64
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from cryptography import x509

from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import envelope, statement
from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from tests.support.genes import tiny_blueprint
from tests.support.log import Log
from tests.support.sites import signed

VECTORS = "model-signing/test-vectors/v1.0"
FILES = ("learngene.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, key):
    """A contribution as a site signs it."""
    path = tmp_path_factory.mktemp("signed")
    return signed(tiny_blueprint(), key, np.random.default_rng(0)).write(path / "learngene")


@pytest.fixture
def validate(vectors):
    """Checks a value against one of the four schemas."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with the extras, not with the protocol")
    referencing = pytest.importorskip("referencing")
    schemas = {
        path.name.split(".", maxsplit=1)[0]: json.loads(path.read_bytes())
        for path in (vectors / "model-signing/schemas/v1.0").glob("*.json")
    }
    resources = [referencing.Resource.from_contents(schema) for schema in schemas.values()]
    registry = referencing.Registry().with_resources((resource.id(), resource) for resource in resources)

    def check(name: str, value) -> bool:
        return jsonschema.Draft202012Validator(schemas[name], registry=registry).is_valid(value)

    return check


def payload(bundle: dict) -> bytes:
    return base64.b64decode(bundle["dsseEnvelope"]["payload"])


def test_our_bundle_and_our_receipt_conform(validate, folder, key):
    raw = (folder / BUNDLE_FILE).read_bytes()
    for ours in (raw, Log().append(raw, key)[1]):
        bundle = json.loads(ours)
        assert validate("bundle", bundle)
        assert validate("envelope", bundle["dsseEnvelope"])
        assert validate("statement", json.loads(payload(bundle)))
        assert validate("predicate", json.loads(payload(bundle))["predicate"])


def test_the_schemas_refuse_what_is_broken(validate, folder):
    bundle = json.loads((folder / BUNDLE_FILE).read_bytes())
    assert not validate("bundle", bundle | {"more": 1})
    assert not validate("predicate", json.loads(payload(bundle))["predicate"] | {"more": 1})


def parse(vectors, path):
    return envelope.parse((vectors / VECTORS / path).read_bytes())


def test_the_bundle_with_a_key_is_read(vectors, read):
    bundle = parse(vectors, "valid/key.bundle.json")
    assert bundle.payload == payload(read(f"{VECTORS}/valid/key.bundle.json"))
    assert (bundle.hint, bundle.tlog) == ("e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e", None)


@pytest.mark.parametrize("path", ["valid/certificate.bundle.json", "valid/sigstore.bundle.json"])
def test_a_bundle_with_a_certificate_is_not_ours(vectors, path):
    with pytest.raises(InvalidInput) as caught:
        parse(vectors, path)
    assert caught.value.reason == "BUNDLE_MALFORMED"


def test_a_foreign_p256_signature_holds_over_our_encoding(read):
    """The keyless bundle was signed on P-256: our PAE and our verification agree with sigstore's."""
    bundle = read(f"{VECTORS}/valid/sigstore.bundle.json")
    raw = base64.b64decode(bundle["verificationMaterial"]["certificate"]["rawBytes"])
    key = VerifyingKey.of(x509.load_der_x509_certificate(raw).public_key())
    signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    key.verify(signature, envelope.pae(payload(bundle)))
    with pytest.raises(GenepoolError) as caught:
        key.verify(signature, envelope.pae(payload(bundle) + b" "))
    assert caught.value.reason == "SIGNATURE_INVALID"


def test_a_foreign_key_on_another_curve_is_not_ours(read):
    certificates = read(f"{VECTORS}/valid/certificate.bundle.json")["verificationMaterial"]["x509CertificateChain"]
    leaf = x509.load_der_x509_certificate(base64.b64decode(certificates["certificates"][0]["rawBytes"]))
    with pytest.raises(InvalidInput) as caught:
        VerifyingKey.of(leaf.public_key())
    assert caught.value.reason == "KEY_MALFORMED"


@pytest.mark.parametrize("name", ["empty", "missing-envelope", "missing-tlog-entries", "missing-verification-material"])
def test_invalid_bundles_are_refused(vectors, name):
    with pytest.raises(InvalidInput) as caught:
        parse(vectors, f"invalid/{name}.bundle.json")
    assert caught.value.reason == ("JSON_MALFORMED" if name == "empty" else "BUNDLE_MALFORMED")


@pytest.mark.parametrize("path", ["valid/key.bundle.json", "invalid-payload/wrong-predicate.bundle.json"])
def test_a_foreign_statement_is_told_apart_from_ours(vectors, path, key):
    """Signed again by a key of ours, so that only the statement differs."""
    again = envelope.parse(envelope.sign_statement(key, parse(vectors, path).payload))
    with pytest.raises(InvalidInput) as caught:
        statement.check_model_statement(envelope.verify(again, key.public), "learngene", FILES, ignore=[BUNDLE_FILE])
    assert caught.value.reason == "STATEMENT_MALFORMED"


@pytest.fixture
def tool():
    named = os.environ.get("GENEPOOL_MODEL_SIGNING") or shutil.which("model_signing")
    if not named:
        pytest.skip("the stock model_signing tool is not on PATH, and GENEPOOL_MODEL_SIGNING names none")
    return named


def run(tool, folder, tmp_path, key) -> subprocess.CompletedProcess:
    (tmp_path / "key.pem").write_text(key.public.pem)
    signature = folder / BUNDLE_FILE
    arguments = ["verify", "key", str(folder), "--signature", str(signature), "--public_key", str(tmp_path / "key.pem")]
    return subprocess.run(
        [tool, *arguments, "--ignore-paths", str(signature)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
def test_the_stock_tool_accepts_our_folder(tool, folder, tmp_path, key):
    found = run(tool, folder, tmp_path, key)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("what", ["another key", "a flipped byte", "one file more"])
def test_the_stock_tool_refuses_what_we_refuse(tool, folder, tmp_path, key, what):
    copy = shutil.copytree(folder, tmp_path / "copy")
    match what:
        case "another key":
            key = SigningKey.generate()
        case "a flipped byte":
            raw = bytearray((copy / "learngene.safetensors").read_bytes())
            raw[-1] ^= 1
            (copy / "learngene.safetensors").write_bytes(raw)
        case "one file more":
            (copy / "more.txt").write_text("more")
    assert run(tool, copy, tmp_path, key).returncode != 0
