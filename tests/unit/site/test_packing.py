"""The artefact: what is signed is what lies there, the same input gives the same bytes, half precision is finite."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from genepool_client.site import packing
from genepool_client.site.submission import two_figures
from genepool_protocol.learngene import manifest as documents
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.manifest import BUNDLE_FILE, Training
from genepool_protocol.trust import checkpoint, digest, envelope, statement
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError
from tests.support.genes import privacy_for, random_gene, tiny_blueprint

BLUEPRINT = tiny_blueprint()
KEY = SigningKey.generate()
HEAD = checkpoint.sign(0, b"\0" * 32, LogSigner.generate("pool.test/log"))
CHAIN = packing.Chain(
    pool="pool.test/log",
    site="hospital-a",
    seq=3,
    prev="ab" * 32,
    nonce="n" * 43,
    not_after=datetime(2027, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    observed=None,
)
FACTS = packing.Facts(
    Training(images=10, classes=2, ancestry_steps=5, condense_steps=2, software=packing.software()),
    privacy_for(BLUEPRINT, images=10),
    "CC-BY-4.0",
)


def learngene(rng: int = 0) -> dict:
    generator = np.random.default_rng(rng)
    width = BLUEPRINT.width(BLUEPRINT.key.heads)
    key = generator.standard_normal(width).astype(np.float32)
    return {**random_gene(BLUEPRINT, BLUEPRINT.components, generator), "key.mean": key}


def written(folder, gene=None):
    path = folder / "learngene.safetensors"
    path.write_bytes(packing.encode(BLUEPRINT, gene or learngene()))
    return path


def test_what_is_packed_comes_back_in_half_precision(tmp_path):
    gene = learngene()
    opened = tensors.TensorFile(written(tmp_path, gene))
    assert opened.header.layout == documents.file_layout(BLUEPRINT)
    for name, array in opened.all().items():
        np.testing.assert_array_equal(array, gene[name].astype(np.float16).astype(np.float32))


def test_the_order_of_the_tensors_does_not_matter():
    gene = learngene()
    shuffled = {name: gene[name] for name in sorted(gene, reverse=True)}
    assert packing.encode(BLUEPRINT, gene) == packing.encode(BLUEPRINT, shuffled)


def test_the_signature_covers_both_files_and_the_pool_can_read_it(tmp_path):
    path = written(tmp_path)
    signed = packing.sign(BLUEPRINT, packing.describe(path), CHAIN, FACTS, KEY)
    verified = envelope.verify(envelope.parse(signed.bundle), KEY.public)
    names = ["learngene.safetensors", "manifest.json"]
    stated = statement.check_model_statement(verified, documents.SUBJECT, names, ignore=[BUNDLE_FILE])
    assert stated.payload_sha256 == signed.contribution_id
    assert stated.digests["learngene.safetensors"] == digest.sha256_file(path)
    assert stated.digests["manifest.json"] == digest.sha256_hex(signed.manifest)
    manifest = documents.parse_manifest(signed.manifest)
    documents.check_architecture(manifest, BLUEPRINT)
    assert (manifest.seq, manifest.prev, manifest.not_after) == (3, "ab" * 32, "2027-01-02T03:04:05Z")
    assert (manifest.observed.size, manifest.observed.root) == (0, "")


def test_signing_again_gives_the_same_bytes_and_another_nonce_does_not(tmp_path):
    file = packing.describe(written(tmp_path))
    first = packing.sign(BLUEPRINT, file, CHAIN, FACTS, KEY)
    assert packing.sign(BLUEPRINT, file, CHAIN, FACTS, KEY) == first
    fresh = packing.sign(BLUEPRINT, file, replace(CHAIN, nonce="m" * 43), FACTS, KEY)
    assert fresh.contribution_id != first.contribution_id


def test_the_observed_checkpoint_is_stated(tmp_path):
    signed = packing.sign(BLUEPRINT, packing.describe(written(tmp_path)), replace(CHAIN, observed=HEAD), FACTS, KEY)
    assert documents.parse_manifest(signed.manifest).observed.root == "A" * 43 + "="


@pytest.mark.parametrize("value", [np.nan, np.inf, 70000.0])
def test_values_that_half_precision_cannot_hold_are_refused(value):
    gene = learngene()
    gene["norm.weight"][0] = value
    with pytest.raises(GenepoolError) as caught:
        packing.encode(BLUEPRINT, gene)
    assert (caught.value.reason, "norm.weight" in caught.value.message) == ("NON_FINITE", True)


def test_a_learngene_of_another_shape_is_refused():
    for change in ({"norm.weight": np.zeros(3, np.float32)}, {"more": np.zeros(3, np.float32)}):
        with pytest.raises(GenepoolError) as caught:
            packing.encode(BLUEPRINT, learngene() | change)
        assert caught.value.reason == "ARCH_MISMATCH"
    gene = learngene()
    del gene["key.mean"]
    with pytest.raises(GenepoolError) as caught:
        packing.encode(BLUEPRINT, gene)
    assert caught.value.reason == "ARCH_MISMATCH"


def test_a_licence_that_is_no_spdx_id_is_refused(tmp_path):
    facts = replace(FACTS, license="all rights reserved!")
    with pytest.raises(GenepoolError) as caught:
        packing.sign(BLUEPRINT, packing.describe(written(tmp_path)), CHAIN, facts, KEY)
    assert caught.value.reason == "MANIFEST_MALFORMED"


@pytest.mark.parametrize(("count", "told"), [(0, 0), (7, 7), (99, 99), (100, 100), (567, 560), (12_345, 12_000)])
def test_steps_are_told_to_two_figures(count, told):
    assert two_figures(count) == told
