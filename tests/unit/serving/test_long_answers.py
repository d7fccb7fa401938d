"""The longest answers about a descendant still fit into messages, and the client puts them together."""

import io
from dataclasses import replace
from itertools import repeat
from types import SimpleNamespace

import pytest

from genepool_client.consumer.descendant import download, withdrawal_check
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.services import descend_service
from genepool_server.records import ContributionStanding, Descended
from genepool_server.serving import descend_request, descendant_documents

IDS = [f"{number:064x}" for number in range(LIMITS.log_entries)]


class Gone:
    """A pool where everything was withdrawn, with the longest receipts that there can be."""

    receipt = b"r" * (2 * LIMITS.bundle_bytes)

    def standing(self, name):
        return ContributionStanding(name, "WITHDRAWN", self.receipt)

    @property
    def descendants(self):
        return self

    def find(self, sha256):
        return Descended(sha256, "tiny-16", "2,2", tuple(IDS[: LIMITS.members]))

    def get(self, _name):
        return SimpleNamespace(state="WITHDRAWN")


def statuses(request):
    answer = descend_service._statuses(Gone(), request)
    assert answer.ByteSize() <= LIMITS.message_bytes
    return answer


def test_the_states_of_many_withdrawn_contributions_come_in_several_answers():
    connection = SimpleNamespace(
        descend=SimpleNamespace(CheckStatus=statuses), call=lambda method, request: method(request)
    )
    states = withdrawal_check._ask(connection, IDS)
    assert [(one.contribution_id, len(one.withdrawal)) for one in states] == [(name, len(Gone.receipt)) for name in IDS]


def test_descendants_are_answered_after_all_contributions():
    assert not statuses(pb.CheckStatusRequest(contribution_ids=IDS[:-1], descendants=IDS[:1])).descendants
    assert len(statuses(pb.CheckStatusRequest(descendants=IDS)).descendants) > 200


def test_a_pool_that_answers_nothing_does_not_keep_the_client():
    connection = SimpleNamespace(
        descend=SimpleNamespace(CheckStatus=None), call=lambda *_: pb.CheckStatusResponse(contributions=[])
    )
    with pytest.raises(GenepoolError) as caught:
        withdrawal_check._ask(connection, IDS)
    assert caught.value.reason == "PROOF_INVALID"


@pytest.fixture
def order(view):
    """As many members as there may be, each with the longest manifest and receipt."""
    (member, *_) = view.contributions.active(view.blueprint("tiny-16").blueprint, ())
    order = descend_request.prepare(view, "tiny-16", [(member.contribution_id, 500)], Budget(size=Size(2, 1)))
    long = replace(member, manifest=b"m" * LIMITS.manifest_bytes, receipt=b"r" * (LIMITS.bundle_bytes + (24 << 10)))
    members = tuple((replace(long, contribution_id=name), 500) for name in IDS[: LIMITS.members])
    return replace(order, members=members)


def messages(files):
    return [
        pb.DescendResponse(attestation=pb.DescendAttestation(files=part, more=more))
        for part, more in descendant_documents.parts(files)
    ]


def test_the_longest_attestation_comes_in_parts_and_is_whole_again(order):
    files = descendant_documents.attest(order, "5" * 64, SigningKey.generate(), "pool.local/log")
    parts = messages(files)
    assert len(parts) > 20
    assert max(part.ByteSize() for part in parts) <= LIMITS.message_bytes
    assert download._body(iter(parts), io.BytesIO(), 0, lambda *_: None) == files
    assert len(descendant.parse_receipts(files[descendant.RECEIPTS_FILE]).receipts) == LIMITS.members


def test_a_short_attestation_is_one_message_that_older_clients_read():
    ((part, more),) = descendant_documents.parts({"a": b"x", "b": b"", "c": b"y" * 1000})
    assert (part, more) == ({"a": b"x", "b": b"", "c": b"y" * 1000}, False)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_parts_join_to_the_files(size):
    files = {"a": b"12345", "b": b"", "c": b"6789", "d": b"0"}
    joined = dict.fromkeys(files, b"")
    for part, _ in descendant_documents.parts(files, size):
        assert sum(map(len, part.values())) <= size
        for name, raw in part.items():
            joined[name] += raw
    assert joined == files


def test_an_attestation_without_an_end_is_refused():
    endless = pb.DescendResponse(
        attestation=pb.DescendAttestation(files={descendant.CARD_FILE: b"x" * LIMITS.chunk_bytes}, more=True)
    )
    with pytest.raises(GenepoolError) as caught:
        download._body(repeat(endless), io.BytesIO(), 0, lambda *_: None)
    assert caught.value.reason == "INTERNAL"


def test_an_attestation_that_breaks_off_is_continued():
    part = pb.DescendResponse(attestation=pb.DescendAttestation(files={descendant.CARD_FILE: b"x"}, more=True))
    with pytest.raises(GenepoolError) as caught:
        download._body(iter([part]), io.BytesIO(), 0, lambda *_: None)
    assert caught.value.reason == "POOL_UNREACHABLE"
