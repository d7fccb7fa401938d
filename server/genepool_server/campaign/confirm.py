"""The pool's own word on a claim, over the network: the ServerApp runs in a process of Flower's, often elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

import grpc
from cryptography.hazmat.primitives.serialization import load_der_public_key

from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT
from genepool_protocol.trust import digest, envelope, receipt, statement, strict_json
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.encoding import unb64
from genepool_protocol.trust.envelope import Bundle
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.trust.updating import refresh
from genepool_protocol.v1.contribute_pb2 import GetContributionRequest
from genepool_protocol.v1.contribute_pb2_grpc import ContributeServiceStub
from genepool_protocol.v1.pool_pb2 import GetCapabilitiesRequest
from genepool_protocol.v1.pool_pb2_grpc import PoolServiceStub
from genepool_protocol.wire.errors import VerificationError
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.status import from_rpc_error
from genepool_protocol.wire.trust_files import files_of
from genepool_protocol.wire.versions import API_VERSION
from genepool_server.campaign.claims import ReceiptClaim

_TIMEOUT: Final = 60.0  # seconds; a pool that restarts is waited for


class PoolWitness:
    """Asks a pool whether it holds what a site claims.

    Args:
        anchors: the pool's address and pinned root.
        identity: of an auditor: only those hear of every site's contributions.

    Raises:
        VerificationError: as `updating.refresh`.
        GenepoolError: the pool cannot be reached.
    """

    def __init__(self, anchors: Anchors, identity: TlsIdentity) -> None:
        self._anchors = anchors
        first = grpc.ssl_channel_credentials(anchors.ca_pem.encode())
        # a campaign is short: nothing that was seen is kept for the next one
        with grpc.secure_channel(anchors.address, first) as opened, TemporaryDirectory(prefix="genepool-") as folder:
            port = self._certified_port(PoolServiceStub(opened))
            fetch = files_of(opened, anchors.address, _TIMEOUT)
            self._trusted = refresh(anchors, Path(folder), fetch, datetime.now(UTC))
        self._channel = grpc.secure_channel(
            f"{anchors.address.rpartition(':')[0]}:{port}",
            grpc.ssl_channel_credentials(self._trusted.ca_pem.encode(), identity.key.pem(), identity.chain),
        )
        self._contribute = ContributeServiceStub(self._channel)

    def _certified_port(self, pool: PoolServiceStub) -> int:
        request = GetCapabilitiesRequest(api_version=API_VERSION)
        try:
            return pool.GetCapabilities(request, timeout=_TIMEOUT, wait_for_ready=True).certified_port
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._anchors.address) from exc

    def confirm(self, claim: ReceiptClaim) -> int:
        """The log index of the claimed contribution.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            VerificationError: PROOF_INVALID or CHECKPOINT_INVALID, the pool's receipt is not for what was claimed.
            GenepoolError: the pool cannot be reached.
        """
        request = GetContributionRequest(contribution_id=claim.contribution_id)
        try:
            response = self._contribute.GetContribution(request, timeout=_TIMEOUT, wait_for_ready=True)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, self._anchors.address) from exc
        return check_receipt(response.receipt, claim, self._trusted.log)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_receipt(raw: bytes, claim: ReceiptClaim, log: AnyLog) -> int:
    """The log index of a receipt of the pool, after it was verified and held against a claim.

    Args:
        raw: the receipt's bytes.
        claim: what a site says that it is.
        log: the keys that the receipt must be signed with.

    Raises:
        VerificationError: PROOF_INVALID or CHECKPOINT_INVALID.
        InvalidInput: BUNDLE_MALFORMED or JSON_MALFORMED.
    """
    bundle = envelope.parse(raw)
    verified = envelope.verify(bundle, _logged_key(bundle))
    logged = receipt.verify(bundle, verified, log)
    names = [LEARNGENE_FILE, MANIFEST_FILE]
    stated = statement.check_model_statement(verified, SUBJECT, names, ignore=[BUNDLE_FILE])
    if (digest.sha256_hex(bundle.payload), stated.digests[LEARNGENE_FILE]) != (claim.contribution_id, claim.sha256):
        raise VerificationError("PROOF_INVALID", "the pool's receipt is for another learngene than the site claims")
    return logged.index


def _logged_key(bundle: Bundle) -> VerifyingKey:
    """The key that the log's entry names; `receipt.verify` then holds the entry against it."""
    try:
        body = unb64((bundle.tlog or {})["canonicalizedBody"], "log body")
        entry = strict_json.loads_canonical(body, max_bytes=LIMITS.bundle_bytes, what="log leaf")
        raw = unb64(entry["spec"]["dsseV002"]["signatures"][0]["verifier"]["publicKey"]["rawBytes"], "key")
        return VerifyingKey.of(load_der_public_key(raw))
    except (KeyError, TypeError, IndexError, ValueError) as exc:
        raise VerificationError("PROOF_INVALID", "the pool's answer is not a receipt") from exc
