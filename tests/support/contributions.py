"""Signed contributions made of random genes: what a site would submit, without training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genepool_protocol.learngene import manifest as manifests
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.manifest import Manifest
from genepool_protocol.trust import digest, envelope, statement
from genepool_protocol.trust.keys import SigningKey
from tests.support.genes import random_gene


@dataclass(frozen=True, slots=True)
class Signed:
    """The three files of a contribution."""

    learngene: bytes
    manifest: bytes
    bundle: bytes

    @property
    def contribution_id(self) -> str:
        return digest.sha256_hex(envelope.parse(self.bundle).payload)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / manifests.LEARNGENE_FILE).write_bytes(self.learngene)
        (folder / manifests.MANIFEST_FILE).write_bytes(self.manifest)
        (folder / manifests.BUNDLE_FILE).write_bytes(self.bundle)
        return folder


def learngene_file(blueprint: Blueprint, rng: np.random.Generator, scale: float = 0.2) -> bytes:
    """A learngene of random deltas with a random key."""
    gene = {name: scale * array for name, array in random_gene(blueprint, blueprint.components, rng).items()}
    width = blueprint.width(blueprint.key.heads)
    gene["key.mean"], gene["key.std"] = rng.standard_normal(width), np.abs(rng.standard_normal(width))
    return tensors.encode(gene, "F16")


def tensor_digest(raw: bytes, folder: Path) -> str:
    path = folder / "digest.safetensors"
    path.write_bytes(raw)
    found = tensors.TensorFile(path).tensor_digest()
    path.unlink()
    return found


def manifest_for(blueprint: Blueprint, raw: bytes = b"x", tensor_sha256: str = "0" * 64, **changes) -> Manifest:
    """The manifest of a learngene file, with plausible numbers."""
    values = {
        "pool": "pool.local/log",
        "site": "north",
        "seq": 1,
        "prev": "0" * 64,
        "nonce": "n" * 43,
        "not_after": "2099-01-01T00:00:00Z",
        "observed": manifests.Observed(size=0, root=""),
        "blueprint": f"sha256:{blueprint.sha256}",
        "file": manifests.FileRef(size=len(raw), sha256=digest.sha256_hex(raw), tensor_digest=tensor_sha256),
        "tensors": [
            manifests.TensorRef(name=name, dtype="F16", shape=list(shape))
            for name, shape in manifests.file_layout(blueprint).items()
        ],
        "training": manifests.Training(images=100, classes=4, ancestry_steps=10, condense_steps=10, software="tests"),
        "privacy": manifests.Privacy(key_clip="3", key_noise="1"),
        "license": "CC-BY-4.0",
    }
    return Manifest(**(values | changes))


def signed(
    blueprint: Blueprint, key: SigningKey, rng: np.random.Generator, folder: Path, *, scale: float = 0.2, **changes
) -> Signed:
    """A whole contribution."""
    raw = learngene_file(blueprint, rng, scale)
    manifest = manifest_for(blueprint, raw, tensor_digest(raw, folder), **changes).canonical()
    digests = {
        manifests.LEARNGENE_FILE: digest.sha256_hex(raw),
        manifests.MANIFEST_FILE: digest.sha256_hex(manifest),
    }
    payload = statement.model_statement(manifests.SUBJECT, digests, ignore=[manifests.BUNDLE_FILE])
    return Signed(raw, manifest, envelope.sign_statement(key, payload))
