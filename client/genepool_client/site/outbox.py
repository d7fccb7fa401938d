"""What left the site, or is about to: one folder for each sequence number, for the site's people to read.

model.sig is written after the two files that it signs, so an artefact with it is whole; receipt.sig comes only after it
was verified.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genepool_client.site.folder import SiteFolder
from genepool_client.site.packing import SignedArtefact
from genepool_client.transport.durable import remove, write_atomic
from genepool_protocol.learngene.manifest import (
    BUNDLE_FILE,
    LEARNGENE_FILE,
    MANIFEST_FILE,
    SUBJECT,
    Manifest,
    parse_manifest,
)
from genepool_protocol.private_files import private_folder, sync_folder
from genepool_protocol.trust import digest, envelope, receipt, statement
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.receipt import Logged
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.wire.errors import StorageError, VerificationError

RECEIPT_FILE: Final = "receipt.sig"


@dataclass(frozen=True, slots=True)
class Artefact:
    """One folder of the outbox."""

    path: Path

    @property
    def seq(self) -> int:
        """Its place among the site's contributions."""
        return int(self.path.name)

    @property
    def weights(self) -> Path:
        """learngene.safetensors."""
        return self.path / LEARNGENE_FILE

    @property
    def signed(self) -> bool:
        """Whether it is whole, and may be sent."""
        return (self.path / BUNDLE_FILE).exists()

    @property
    def received(self) -> bool:
        """Whether a verified receipt lies beside it."""
        return (self.path / RECEIPT_FILE).exists()

    def manifest(self) -> bytes:
        """manifest.json."""
        return (self.path / MANIFEST_FILE).read_bytes()

    def bundle(self) -> bytes:
        """model.sig."""
        return (self.path / BUNDLE_FILE).read_bytes()

    def receipt(self) -> bytes:
        """receipt.sig."""
        return (self.path / RECEIPT_FILE).read_bytes()

    @property
    def contribution_id(self) -> str:
        """Hex SHA-256 of the signed statement."""
        return digest.sha256_hex(envelope.parse(self.bundle()).payload)

    def check(self, key: VerifyingKey) -> Manifest:
        """The manifest, after the files were held against the signature.

        Raises:
            StorageError: BLOB_CORRUPT, a file was changed after it was signed.
            GenepoolError: the bundle or the manifest is malformed.
        """
        verified = envelope.verify(envelope.parse(self.bundle()), key)
        names = [LEARNGENE_FILE, MANIFEST_FILE]
        stated = statement.check_model_statement(verified, SUBJECT, names, ignore=[BUNDLE_FILE])
        for name in names:
            if digest.sha256_file(self.path / name) != stated.digests[name]:
                raise StorageError(
                    "BLOB_CORRUPT",
                    f"{self.path / name} was changed after it was signed",
                    "remove that outbox folder and submit again",
                )
        return parse_manifest(self.manifest())

    def verify(self, raw: bytes, key: VerifyingKey, log: AnyLog) -> Logged:
        """Check that a receipt is one for this very artefact, signed by us and held by the log.

        Raises:
            VerificationError: PROOF_INVALID, SIGNATURE_INVALID or CHECKPOINT_INVALID.
            InvalidInput: BUNDLE_MALFORMED or JSON_MALFORMED.
        """
        bundle = envelope.parse(raw)
        if bundle.payload != envelope.parse(self.bundle()).payload:
            raise VerificationError(
                "PROOF_INVALID", "the pool answered a receipt for another statement", "submit again"
            )
        return receipt.verify(bundle, envelope.verify(bundle, key), log)

    def keep_receipt(self, raw: bytes) -> None:
        """Put a verified receipt beside what it is for."""
        write_atomic(self.path / RECEIPT_FILE, raw)


def artefacts(site: SiteFolder) -> list[Artefact]:
    """Everything in the outbox, oldest first."""
    listed = [Artefact(path) for path in site.outbox.iterdir() if path.name.isdigit() and path.is_dir()]
    return sorted(listed, key=lambda artefact: artefact.seq)


def find(site: SiteFolder, weights: bytes) -> Artefact | None:
    """The newest artefact with exactly these weights."""
    sha256 = digest.sha256_hex(weights)
    for artefact in reversed(artefacts(site)):
        if artefact.weights.exists() and digest.sha256_file(artefact.weights) == sha256:
            return artefact
    return None


def place(site: SiteFolder, seq: int, weights: bytes, before: Artefact | None) -> Artefact:
    """The folder for a sequence number with these weights and no signature yet.

    Args:
        site: whose outbox.
        seq: the number; whatever unsigned lies under it is replaced.
        weights: bytes of learngene.safetensors.
        before: an artefact of the same weights that was never accepted, which moves to the new number.
    """
    target = Artefact(site.outbox / str(seq))
    if before is not None:
        remove(before.path / BUNDLE_FILE)
        if before.path != target.path:
            drop(target)
            before.path.rename(target.path)
            sync_folder(site.outbox)
        return target
    drop(target)
    private_folder(target.path)
    write_atomic(target.weights, weights)
    sync_folder(site.outbox)
    return target


def seal(artefact: Artefact, signed: SignedArtefact) -> None:
    """Write manifest and signature, the signature last: from then on the artefact is whole."""
    remove(artefact.path / BUNDLE_FILE)
    write_atomic(artefact.path / MANIFEST_FILE, signed.manifest)
    write_atomic(artefact.path / BUNDLE_FILE, signed.bundle)


def drop(artefact: Artefact) -> None:
    """Remove an artefact that the pool never accepted."""
    if artefact.path.exists():
        shutil.rmtree(artefact.path)
