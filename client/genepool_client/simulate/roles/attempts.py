"""What a site with bad intent tries: images past the egress guard and past the pool, and numbers that harm."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from genepool_client.site import credentials, packing, steps, submission
from genepool_client.site.flower import guard
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Materials, Settings, SiteBlueprint
from genepool_client.site.packing import Chain
from genepool_client.site.submission import Submitted
from genepool_client.transport import upload
from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic, write_json
from genepool_protocol.learngene import tensors
from genepool_protocol.progress import Progress
from genepool_protocol.trust import digest
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError

_STRENGTH: Final = 1.5
"""Norm of a poisoned tensor over the seed's: with 2 the numbered checks refuse it at once, and no screen sees it."""


@dataclass(frozen=True, slots=True)
class Leak:
    """What became of images that were to leave.

    Attributes:
        tried: their bytes.
        flower: the rule of the egress guard that a reply with them breaks, in whose stead a constant leaves.
        pool: why the pool refused a learngene with them in it.
    """

    tried: int
    flower: str
    pool: str


def leak(site: SiteFolder, progress: Progress) -> Leak:
    """Try both doors with the site's own images.

    Raises:
        GenepoolError: as the steps; a door that lets them through is a defect and ends as such.
    """
    materials = _condensed(site, progress)
    pixels = materials.images.pixels
    return Leak(pixels.nbytes, _through_flower(pixels), _through_the_pool(site, materials, pixels, progress))


def poison(site: SiteFolder, progress: Progress) -> Submitted:
    """Contribute random numbers instead of what was condensed.

    Raises:
        GenepoolError: as the steps, or the pool refuses them at once.
    """
    materials = _condensed(site, progress)
    record, gene = steps.condensed(site)
    rng, seed = np.random.default_rng(0), materials.seed.all()
    for name, tensor in gene.items():
        if name in seed:
            noise = rng.standard_normal(tensor.shape)
            scale = _STRENGTH * np.linalg.norm(seed[name]) / np.linalg.norm(noise)
            gene[name] = (scale * noise).astype(np.float32)
    raw = tensors.encode(gene, "F32")
    write_atomic(site.work / "condensed.safetensors", raw)
    forged = record.model_copy(update={"sha256": digest.sha256_hex(raw)})
    write_json(site.work / "condensed.json", forged.model_dump(by_alias=True))
    with credentials.connect(site) as connection:
        connection.capabilities()
        return submission.submit(SiteBlueprint(site), connection, progress)


def _condensed(site: SiteFolder, progress: Progress) -> Materials:
    materials = Materials.read(SiteBlueprint(site), Settings(), progress)
    steps.train(materials, progress)
    steps.condense_learngene(materials, progress)
    return materials


def _through_flower(pixels: np.ndarray) -> str:
    told = guard.violation(RecordDict({guard.RECORD: ArrayRecord({"images": Array(pixels)})}))
    if told is None:
        raise AssertionError("the egress guard let images through")
    return told


def _through_the_pool(site: SiteFolder, materials: Materials, pixels: np.ndarray, progress: Progress) -> str:
    record, gene = steps.condensed(site)
    halves: Mapping[str, np.ndarray] = {name: array.astype(np.float16) for name, array in gene.items()}
    smuggled = tensors.encode({**halves, "images": (pixels / 255.0).astype(np.float16)}, "F16")
    path = site.work / "smuggled.safetensors"
    write_atomic(path, smuggled)
    with credentials.connect(site) as connection:
        connection.capabilities()
        signed = packing.sign(
            materials.blueprint,
            packing.describe(path),
            _chain(site, connection),
            submission.facts(site, record),
            site.signing_key(),
        )
        try:
            upload.submit(connection, signed.bundle, signed.manifest, smuggled, progress)
        except GenepoolError as exc:
            return f"{exc.reason}: {exc.message}"
        finally:
            Path(path).unlink()
    raise AssertionError("the pool took a learngene with images in it")


def _chain(site: SiteFolder, connection: Connection) -> Chain:
    nonce = connection.call(connection.contribute.BeginNonce, pb.BeginNonceRequest(site=site.config.name))
    return Chain(
        pool=connection.trusted.origin,
        site=site.config.name,
        seq=nonce.last_seq + 1,
        prev=nonce.last_payload_sha256,
        nonce=nonce.nonce,
        not_after=datetime.fromisoformat(nonce.expires),
        observed=None,
    )
