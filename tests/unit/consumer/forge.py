"""A pool without a server: real keys, a real log, real learngenes, and the pool's own code that attests descendants.

A test can also make this pool lie: `sign` signs whatever documents it is given.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genepool_protocol.learngene import descendant, expansion, manifest, tensors
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.statement import model_statement
from genepool_protocol.trust.trusted import Trusted
from genepool_server.records import Contribution
from genepool_server.serving import descendant_documents
from genepool_server.serving.descent import Order
from genepool_server.serving.library import Family, StoredFile
from tests.support.genes import privacy_for, random_gene, write_seed
from tests.support.log import Log
from tests.support.trust import trusted

ORIGIN = "pool.local/log"


def manifest_of(family: Blueprint, raw: bytes, path: Path, **changes) -> manifest.Manifest:
    file = TensorFile(path)
    values = {
        "pool": ORIGIN,
        "site": "site-a",
        "seq": 1,
        "prev": "0" * 64,
        "nonce": "n" * 43,
        "not_after": "2030-01-01T00:00:00Z",
        "observed": manifest.Observed(size=0, root=""),
        "blueprint": f"sha256:{family.sha256}",
        "file": manifest.WeightsFile(size=len(raw), sha256=digest.sha256_hex(raw), tensor_digest=file.tensor_digest()),
        "tensors": [
            manifest.TensorRef(name=name, dtype=one.dtype, shape=list(one.shape))
            for name, one in file.header.tensors.items()
        ],
        "training": manifest.Training(images=100, classes=4, ancestry_steps=1, condense_steps=1, software="test"),
        "privacy": privacy_for(family),
        "license": "CC-BY-4.0",
    }
    return manifest.Manifest(**(values | changes))


@dataclass
class Forge:
    """A folder of learngenes, and everything that a pool signs with."""

    folder: Path
    release: SigningKey = field(default_factory=SigningKey.generate)
    log: Log = field(default_factory=Log)
    site_key: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self):
        self.rng = np.random.default_rng(3)
        self.blueprint = write_seed(self.folder / "blueprint", self.rng)
        self.seed_path = self.folder / "blueprint" / "seed.safetensors"
        self.family = Family(self.blueprint, StoredFile(str(self.seed_path), self.blueprint.seed.sha256[7:]))

    @property
    def trusted(self) -> Trusted:
        return trusted(self.log.key, self.release.public)

    def contribute(self, site: str = "site-a", *, log: Log | None = None, **changes) -> Contribution:
        """A learngene of random numbers, signed by the site's key and held by the log."""
        gene = random_gene(self.blueprint, self.blueprint.components, self.rng)
        width = self.blueprint.embedding_width
        key = {"key.mean": self.rng.standard_normal(width)}
        raw = tensors.encode({**gene, **key}, "F16")
        path = self.folder / f"{digest.sha256_hex(raw)}.safetensors"
        path.write_bytes(raw)
        stated = manifest_of(self.blueprint, raw, path, **{"site": site, **changes})
        digests = {
            manifest.LEARNGENE_FILE: digest.sha256_hex(raw),
            manifest.MANIFEST_FILE: digest.sha256_hex(stated.canonical()),
        }
        payload = model_statement(manifest.SUBJECT, digests, ignore=[manifest.BUNDLE_FILE])
        bundle = envelope.sign_statement(self.site_key, payload)
        index, receipt = (log or self.log).append(bundle, self.site_key)
        return Contribution(
            contribution_id=digest.sha256_hex(payload),
            site=site,
            state="ACTIVE",
            license=stated.license,
            blueprint_sha256=self.blueprint.sha256,
            sha256=digest.sha256_hex(raw),
            size_bytes=len(raw),
            images=100,
            log_index=index,
            path=path,
            manifest=stated.canonical(),
            receipt=receipt,
            site_key_pem=self.site_key.public.pem,
        )

    def order(self, members: list[tuple[Contribution, int]], size: Size | None = None) -> Order:
        size = size or Size(2, 2)
        return Order(self.family, size, tuple(sorted(members, key=lambda pair: pair[0].contribution_id)))

    def model(self, order: Order) -> bytes:
        """model.safetensors, as the pool builds it."""
        whole = expansion.gene_layout(self.blueprint, self.blueprint.seed.components)
        layout = expansion.gene_layout(self.blueprint, self.blueprint.components)
        seed = TensorFile(self.seed_path).flat(whole).astype(np.float32)
        members = [(milli, TensorFile(member.path).flat(layout)) for member, milli in order.members]
        return descendant.build(self.blueprint, order.size, seed, members)

    def descend(self, out: Path, order: Order) -> Path:
        """The folder that the pool hands out for an order."""
        model = self.model(order)
        files = descendant_documents.attest(order, digest.sha256_hex(model), self.release, ORIGIN)
        return write(out, {**files, descendant.MODEL_FILE: model})

    def lie(
        self, out: Path, order: Order, *, key: SigningKey | None = None, model: bytes | None = None, **lies
    ) -> Path:
        """A folder whose documents are changed before they are signed.

        Args:
            out: the folder.
            order: what it starts from.
            key: signs instead of the release key.
            model: takes the place of the true weights.
            lies: `lineage`, `receipts`: functions of the true value; `files`: a function of the documents;
                `statement`: a function of the payload.
        """
        model = self.model(order) if model is None else model
        lineage = lies.get("lineage", lambda one: one)(
            descendant_documents.lineage(order, digest.sha256_hex(model), ORIGIN)
        )
        receipts = lies.get("receipts", lambda one: one)(descendant_documents.receipts(order))
        files = dict(descendant.documents(self.blueprint, lineage, receipts)) | {descendant.MODEL_FILE: model}
        files = lies.get("files", lambda one: one)(files)
        digests = {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()}
        payload = model_statement(descendant.SUBJECT, digests, ignore=descendant.IGNORED)
        payload = lies.get("statement", lambda one: one)(payload)
        return write(out, {**files, BUNDLE_FILE: envelope.sign_statement(key or self.release, payload)})


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder
