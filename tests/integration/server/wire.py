"""A site that speaks the wire with raw stubs: nothing of our client between the test and the server."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pytest

from genepool_protocol.learngene import manifest as manifests
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust import checkpoint
from genepool_protocol.trust.enrolment import channel_of, mac
from genepool_protocol.trust.receipt import observed_root
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.pool.sites.membership import Invitation
from tests.support.server import TIMEOUT, Server, Stubs, certified_channel
from tests.support.sites import Contributor, Packed, file_ref, manifest_for, tensor_refs, weights_of


def refused(call: Any, *arguments: Any, **options: Any) -> GenepoolError:
    """The error that a call is refused with."""

    def play() -> None:
        answer = call(*arguments, timeout=TIMEOUT, **options)
        if hasattr(answer, "__next__"):
            list(answer)

    with pytest.raises(grpc.RpcError) as caught:
        play()
    return from_rpc_error(caught.value, "the test's server")


class WireSite:
    """One site: joins through the operator's command and the wire, contributes random learngenes.

    `strange` are stubs without a certificate; `stubs` show the site's own, once it has joined.
    """

    def __init__(self, server: Server, stubs: Stubs, name: str) -> None:
        self.server, self.strange, self.name = server, stubs, name
        self.contributor = Contributor(name)
        self.chain = b""
        self.stubs = stubs

    @property
    def blueprint(self) -> Blueprint:
        return self.server.pool.blueprint("tiny-16").blueprint

    def enrol_request(self, **terms: Any) -> pb.EnrolRequest:
        invitation = self.server.pool.sites.invite(self.name, datetime.now(UTC), **terms)
        return self.request_for(invitation)

    def request_for(self, invitation: Invitation) -> pb.EnrolRequest:
        application = self.contributor.application(invitation.invite_id)
        trusted = self.server.trusted
        proof = mac(invitation.secret, trusted.origin, channel_of(trusted.ca_pem), application)
        return pb.EnrolRequest(
            site=self.name,
            invite_id=application.invite_id,
            tls_csr=application.tls_csr,
            signing_csr=application.signing_csr,
            mac=proof,
        )

    def join(self, **terms: Any) -> "WireSite":
        answer = self.strange.enrolment.Enrol(self.enrol_request(**terms), timeout=TIMEOUT)
        assert answer.state == pb.SITE_STATE_PENDING
        assert answer.keyid == self.contributor.key.public.keyid
        self.server.pool.sites.approve(self.name)
        return self.certified()

    def enrolment(self) -> pb.GetEnrolmentResponse:
        request = pb.GetEnrolmentRequest(site=self.name, tls_keyid=self.contributor.tls.public.keyid)
        return self.strange.enrolment.GetEnrolment(request, timeout=TIMEOUT)

    def certified(self) -> "WireSite":
        """Fetch the certificate, and show it from now on."""
        self.chain = self.enrolment().certificate_pem.encode()
        assert self.chain
        self.stubs = Stubs(certified_channel(self.server.anchors, self.contributor.tls, self.chain))
        return self

    def again(self, server: Server, stubs: Stubs) -> "WireSite":
        """The same site at a server that was started again."""
        site = WireSite(server, stubs, self.name)
        site.contributor = self.contributor
        return site.certified()

    def pack(self, weights: bytes, **changes: Any) -> Packed:
        nonce = self.stubs.contribute.BeginNonce(pb.BeginNonceRequest(site=self.name), timeout=TIMEOUT)
        head = checkpoint.verify(nonce.checkpoint, self.server.trusted.log) if nonce.checkpoint else None
        size, root = observed_root(head)
        values = {
            "pool": self.server.trusted.origin,
            "site": self.name,
            "seq": nonce.last_seq + 1,
            "prev": nonce.last_payload_sha256,
            "nonce": nonce.nonce,
            "not_after": (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observed": manifests.Observed(size=size, root=root),
            "file": file_ref(weights),
            "tensors": tensor_refs(weights),
        }
        made = manifest_for(self.blueprint).model_copy(update=values | changes)
        return self.contributor.sign(made.canonical(), weights)

    def random(self, rng: np.random.Generator, **changes: Any) -> Packed:
        return self.pack(weights_of(self.blueprint, rng), **changes)

    def begin(self, packed: Packed) -> pb.BeginResponse:
        request = pb.BeginRequest(bundle=packed.bundle, manifest=packed.manifest)
        return self.stubs.contribute.Begin(request, timeout=TIMEOUT)

    def write(self, messages: Sequence[pb.WriteRequest]) -> int:
        return self.stubs.contribute.Write(iter(messages), timeout=TIMEOUT).committed_size

    def status(self, upload_id: str) -> pb.QueryWriteStatusResponse:
        return self.stubs.contribute.QueryWriteStatus(pb.QueryWriteStatusRequest(upload_id=upload_id), timeout=TIMEOUT)

    def commit(self, upload_id: str) -> pb.CommitResponse:
        return self.stubs.contribute.Commit(pb.CommitRequest(upload_id=upload_id), timeout=TIMEOUT)

    def refused_commit(self, upload_id: str) -> str:
        return refused(self.stubs.contribute.Commit, pb.CommitRequest(upload_id=upload_id)).reason

    def contribute(self, rng: np.random.Generator) -> pb.CommitResponse:
        packed = self.random(rng)
        begun = self.begin(packed)
        self.write(list(chunks(begun.upload_id, packed.weights)))
        return self.commit(begun.upload_id)


def chunks(
    upload_id: str, weights: bytes, start: int = 0, *, size: int = 4096, finish: bool = True
) -> Iterator[pb.WriteRequest]:
    """The messages of an upload from `start` on."""
    for offset in range(start, len(weights), size):
        data = weights[offset : offset + size]
        last = finish and offset + len(data) == len(weights)
        yield pb.WriteRequest(
            upload_id="" if offset > start else upload_id, offset=offset, data=data, finish_write=last
        )
