"""The small files of a descendant's folder: lineage, receipts, card, and the pool's signature over them all."""

import base64
from collections.abc import Iterator, Mapping

import genepool_protocol
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.statement import model_statement
from genepool_protocol.wire.limits import LIMITS
from genepool_server.records import Descended
from genepool_server.serving.descent import Order


def lineage(order: Order, sha256: str, origin: str) -> descendant.Lineage:
    """From what, by whom and to which bytes the descendant was built.

    Args:
        order: what was built.
        sha256: hex, of model.safetensors.
        origin: the pool's name.
    """
    return descendant.Lineage(
        blueprint=order.family.blueprint.sha256,
        seed=order.family.seed.sha256,
        depth=order.size.depth,
        heads=order.size.heads,
        model=sha256,
        origin=origin,
        software=genepool_protocol.__version__,
        dependencies=[
            descendant.Dependency(
                contribution_id=member.contribution_id,
                site=member.site,
                license=member.license,
                milli=milli,
                sha256=member.sha256,
                log_index=member.log_index,
            )
            for member, milli in order.members
        ],
    )


def descended(order: Order, sha256: str) -> Descended:
    """What the pool keeps of a descendant that it hands over.

    Args:
        order: what was built.
        sha256: hex, of model.safetensors.
    """
    members = tuple(member.contribution_id for member, _ in order.members)
    return Descended(sha256, order.family.blueprint.name, str(order.size), members)


def receipts(order: Order) -> descendant.Receipts:
    """The evidence for every member, in the order of the weights."""
    return descendant.Receipts(
        receipts=[
            descendant.ReceiptEntry(
                contribution_id=member.contribution_id,
                manifest=base64.b64encode(member.manifest).decode(),
                receipt=base64.b64encode(member.receipt).decode(),
                site_key_pem=member.site_key_pem,
            )
            for member, _ in order.members
        ]
    )


def attest(order: Order, sha256: str, release_key: SigningKey, origin: str) -> dict[str, bytes]:
    """Every file of the folder except model.safetensors, by name, with the pool's signature.

    Args:
        order: what was built.
        sha256: hex, of the model.safetensors that was streamed.
        release_key: the pool's key for descendants.
        origin: the pool's name.
    """
    files = dict(descendant.documents(order.family.blueprint, lineage(order, sha256, origin), receipts(order)))
    digests = {name: digest.sha256_hex(raw) for name, raw in files.items()} | {descendant.MODEL_FILE: sha256}
    signed = {name: digests[name] for name in descendant.SIGNED}
    statement = model_statement(descendant.SUBJECT, signed, ignore=descendant.IGNORED)
    return files | {BUNDLE_FILE: envelope.sign_statement(release_key, statement)}


def parts(files: Mapping[str, bytes], most: int = LIMITS.chunk_bytes) -> Iterator[tuple[dict[str, bytes], bool]]:
    """The files in pieces that fit into messages; most often one, since few descendants have long receipts.

    Args:
        files: by name.
        most: bytes of contents in one piece.

    Yields:
        What to append to each file, and whether there is more.
    """
    piece: dict[str, bytes] = {}
    room = most
    for name, raw in files.items():
        start = 0
        while len(raw) - start > room:
            yield piece | {name: raw[start : start + room]}, True
            start, room, piece = start + room, most, {}
        piece[name] = raw[start:]
        room -= len(raw) - start
    yield piece, False
