"""Sites and what they sign: random learngenes of a tiny blueprint, without training, for a pool or for a file."""

import base64
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from genepool_protocol.learngene import manifest as manifests
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust import checkpoint, digest, envelope
from genepool_protocol.trust.enrolment import Application, mac, make_csr
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.receipt import observed_root
from genepool_protocol.trust.statement import model_statement
from genepool_server.pool.contributions.replies import Committed
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.sites.membership import Invitation
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.records import Contribution
from tests.support import genes

ORIGIN = "pool.test/log"
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
BLUEPRINT = "tiny-16"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


CHANNEL = b"\1" * 32
"""Stands for the CA that clients pin, where there is no TLS."""


@dataclass(frozen=True)
class Packed:
    """What a site sends: model.sig, manifest.json and learngene.safetensors."""

    bundle: bytes
    manifest: bytes
    weights: bytes

    @property
    def upload_id(self) -> str:
        """Names the upload and the contribution."""
        return digest.sha256_hex(envelope.parse(self.bundle).payload)

    def write(self, folder: Path) -> Path:
        """The three files in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / manifests.LEARNGENE_FILE).write_bytes(self.weights)
        (folder / manifests.MANIFEST_FILE).write_bytes(self.manifest)
        (folder / manifests.BUNDLE_FILE).write_bytes(self.bundle)
        return folder


@dataclass(frozen=True)
class Contributor:
    """A site with its two keys."""

    name: str
    key: SigningKey = field(default_factory=SigningKey.generate)
    tls: SigningKey = field(default_factory=SigningKey.generate)

    def application(self, invite_id: str) -> Application:
        """What it enrols with."""
        return Application(self.name, invite_id, make_csr(self.tls), make_csr(self.key))

    def sign(self, manifest: bytes, weights: bytes, key: SigningKey | None = None) -> Packed:
        """The signed artefact over these very bytes."""
        return packed(key or self.key, manifest, weights)

    def pack(self, pool: OpenPool, weights: bytes, /, family: str = BLUEPRINT, **changes) -> Packed:
        """The signed artefact of the site's next contribution; members of the manifest can be changed."""
        nonce = pool.contributions.intake.begin_nonce(self.name, NOW)
        head = checkpoint.verify(nonce.checkpoint, pool.log.keys) if nonce.checkpoint else None
        size, root = observed_root(head)
        values = {
            "pool": pool.origin,
            "site": self.name,
            "seq": nonce.last_seq + 1,
            "prev": nonce.last_payload_sha256,
            "nonce": nonce.nonce,
            "not_after": (NOW + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observed": manifests.Observed(size=size, root=root),
        } | changes
        if "file" not in values:
            values["file"] = file_ref(weights)
        if "tensors" not in values:
            values["tensors"] = tensor_refs(weights)
        blueprint = pool.blueprint(family).blueprint
        manifest = manifest_for(blueprint).model_copy(update={"basis": blueprint.basis} | values)
        return self.sign(manifest.canonical(), weights)


def packed(key: SigningKey, manifest: bytes, weights: bytes) -> Packed:
    """A signed artefact."""
    digests = {
        manifests.LEARNGENE_FILE: digest.sha256_hex(weights),
        manifests.MANIFEST_FILE: digest.sha256_hex(manifest),
    }
    payload = model_statement(manifests.SUBJECT, digests, ignore=[manifests.BUNDLE_FILE])
    return Packed(envelope.sign_statement(key, payload), manifest, weights)


def signed(blueprint: Blueprint, key: SigningKey, rng: np.random.Generator, *, scale: float = 0.2, **changes) -> Packed:
    """A whole contribution that no pool was asked about."""
    raw = learngene_file(blueprint, rng, scale)
    return packed(key, manifest_for(blueprint, raw, **changes).canonical(), raw)


def learngene_file(blueprint: Blueprint, rng: np.random.Generator, scale: float = 0.2) -> bytes:
    """A learngene of random deltas with a random key."""
    gene = {name: scale * array for name, array in genes.random_gene(blueprint, blueprint.components, rng).items()}
    width = blueprint.embedding_width
    gene["key.mean"] = rng.standard_normal(width)
    return tensors.encode(gene, "F16")


def manifest_for(blueprint: Blueprint, raw: bytes | None = None, **changes) -> manifests.Manifest:
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
        "basis": blueprint.basis,
        "file": manifests.WeightsFile(size=1, sha256=digest.sha256_hex(b"x"), tensor_digest="0" * 64)
        if raw is None
        else file_ref(raw),
        "tensors": [
            manifests.TensorRef(name=name, dtype="F16", shape=list(shape))
            for name, shape in manifests.file_layout(blueprint).items()
        ],
        "training": manifests.Training(images=100, classes=4, ancestry_steps=10, condense_steps=10, software="tests"),
        "privacy": genes.privacy_for(blueprint),
        "license": "CC-BY-4.0",
    }
    return manifests.Manifest(**(values | changes))


def file_ref(weights: bytes) -> manifests.WeightsFile:
    """What a manifest says of a weights file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(weights)
        file.flush()
        tensors_sha256 = tensors.TensorFile(Path(file.name)).tensor_digest()
    return manifests.WeightsFile(size=len(weights), sha256=digest.sha256_hex(weights), tensor_digest=tensors_sha256)


def tensor_refs(weights: bytes) -> list[manifests.TensorRef]:
    """What a manifest says of the tensors of a file."""
    header = tensors.parse_header(weights, len(weights))
    return [
        manifests.TensorRef(name=name, dtype=tensor.dtype, shape=list(tensor.shape))
        for name, tensor in header.tensors.items()
    ]


def gene(blueprint: Blueprint, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors of a learngene file, float16."""
    layout = manifests.file_layout(blueprint)
    made = {name: (0.05 * rng.standard_normal(shape)).astype(np.float16) for name, shape in layout.items()}
    return made | {"key.mean": (20 * made["key.mean"]).astype(np.float16)}


def weights_of(blueprint: Blueprint, rng: np.random.Generator) -> bytes:
    """A random learngene.safetensors."""
    return tensors.encode(gene(blueprint, rng), "F16")


def make_pool(folder: Path, storage: Storage = HERE, **changes) -> Path:
    """A fresh pool's folder with the tiny blueprint."""
    genes.write_seed(folder / "blueprint", np.random.default_rng(0), **changes)
    (folder / "pool").mkdir()
    OpenPool.create(folder / "pool", ORIGIN, [folder / "blueprint"], storage=storage)
    return folder / "pool"


def enrol(pool: OpenPool, contributor: Contributor, **terms) -> Invitation:
    """Invite and enrol; the site is pending then."""
    invitation = pool.sites.invite(contributor.name, NOW, **terms)
    application = contributor.application(invitation.invite_id)
    proof = mac(invitation.secret, pool.origin, CHANNEL, application)
    pool.sites.enrol(application, proof, CHANNEL, NOW)
    return invitation


def join(pool: OpenPool, name: str) -> Contributor:
    """A site that may contribute."""
    contributor = Contributor(name)
    enrol(pool, contributor)
    pool.sites.approve(name)
    return contributor


def upload(pool: OpenPool, packed: Packed, *, chunk: int = 1 << 20, weights: bytes | None = None) -> str:
    """Begin, send what is missing, finish; answers the upload id."""
    intake = pool.contributions.intake
    begun = intake.begin(packed.bundle, packed.manifest, NOW)
    if begun.already_logged:
        return begun.upload_id
    lease = intake.spool.lease(begun.upload_id)
    data = packed.weights if weights is None else weights
    for start in range(begun.committed_size, len(data), chunk):
        intake.spool.append(begun.upload_id, start, data[start : start + chunk], lease)
    intake.spool.finish(begun.upload_id, lease)
    return begun.upload_id


def contribute(pool: OpenPool, contributor: Contributor, rng: np.random.Generator) -> Committed:
    """A whole contribution."""
    return submit(pool, contributor.pack(pool, weights_of(pool.blueprint(BLUEPRINT).blueprint, rng)))


def submit(pool: OpenPool, packed: Packed, **terms) -> Committed:
    """Upload a signed artefact and commit it; `terms` as `upload`."""
    return pool.contributions.intake.commit(upload(pool, packed, **terms), NOW)


def active(pool: OpenPool, licenses: tuple[str, ...] = ()) -> list[Contribution]:
    """Active contributions to the tiny blueprint."""
    return pool.contributions.active(pool.blueprint(BLUEPRINT).blueprint, licenses)


def malleated(packed: Packed) -> Packed:
    """The same statement under the other valid ECDSA signature, (r, n - s)."""
    signature = envelope.parse(packed.bundle).signature
    r, s = decode_dss_signature(signature)
    old, new = (base64.b64encode(one) for one in (signature, encode_dss_signature(r, _P256_ORDER - s)))
    return replace(packed, bundle=packed.bundle.replace(old, new))
