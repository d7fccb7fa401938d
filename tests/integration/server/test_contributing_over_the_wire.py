"""A site on the wire: uploading in pieces, being killed, resuming, and what a refusal says."""

import threading

import grpc
import numpy as np
import pytest

from genepool_protocol.learngene.manifest import Observed
from genepool_protocol.trust import envelope, receipt, tiles
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.status import from_rpc_error
from tests.integration.server.wire import WireSite, chunks, refused
from tests.support.leaves import payload_sha256
from tests.support.server import TIMEOUT, certified_channel, pool_server, wait_until
from tests.support.sites import weights_of


def log_size(stubs) -> int:
    note = stubs.log.GetCheckpoint(pool_pb2.GetCheckpointRequest(), timeout=TIMEOUT).checkpoint
    return int(note.split("\n")[1]) if note else 0


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_a_contribution_comes_back_with_a_receipt_that_verifies_against_the_anchors(server, site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    assert (begun.upload_id, begun.already_logged) == (packed.upload_id, False)
    assert begun.max_chunk_bytes == LIMITS.chunk_bytes
    assert site.write(list(chunks(begun.upload_id, packed.weights))) == len(packed.weights)
    assert site.status(begun.upload_id).finished
    done = site.commit(begun.upload_id)
    bundle = envelope.parse(done.receipt)
    logged = receipt.verify(bundle, envelope.verify(bundle, site.contributor.key.public), server.trusted.log)
    assert logged.index == log_size(site.stubs) - 2, "the decision follows"
    assert (done.contribution_id, done.state) == (packed.upload_id, pb.CONTRIBUTION_STATE_ACTIVE)
    assert site.commit(begun.upload_id) == done
    assert site.begin(packed).already_logged
    request = pb.GetContributionRequest(contribution_id=done.contribution_id)
    found = site.stubs.contribute.GetContribution(request, timeout=TIMEOUT)
    assert (found.state, found.receipt) == (done.state, done.receipt)


def test_the_log_shows_its_entries_and_how_it_grew(site, rng):
    before = log_size(site.stubs)
    ids = [site.contribute(rng).contribution_id for _ in range(2)]
    request = pool_pb2.GetEntriesRequest(start=before, count=10)
    leaves = site.stubs.log.GetEntries(request, timeout=TIMEOUT).leaves
    assert [payload_sha256(leaf) for leaf in leaves[::2]] == ids
    assert len(leaves) == 4, "each is followed by its decision"
    growth = pool_pb2.GetConsistencyRequest(old_size=before + 1, new_size=before + 2)
    assert site.stubs.log.GetConsistency(growth, timeout=TIMEOUT).hashes
    beyond = pool_pb2.GetConsistencyRequest(old_size=1, new_size=10**6)
    assert refused(site.stubs.log.GetConsistency, beyond).reason == "LOG_RANGE"
    assert refused(site.stubs.log.GetEntries, pool_pb2.GetEntriesRequest(start=10**6, count=1)).reason == "LOG_RANGE"


def test_tiles_are_served_by_their_paths_and_nothing_else_is(server, site, rng):
    site.contribute(rng)
    size = log_size(site.stubs)
    for tile in tiles.tiles(size):
        parts = site.stubs.log.GetTile(pool_pb2.GetTileRequest(path=tile.path), timeout=TIMEOUT)
        assert b"".join(part.chunk for part in parts) == server.pool.log.tile(tile.path)
    tricks = (
        "",
        "checkpoint",
        "../ledger.sqlite",
        "tile/0/../../keys/log.pem",
        "tile/0/000/",
        f"tile/0/000.p/{size + 1}",
    )
    for path in tricks:
        assert refused(site.stubs.log.GetTile, pool_pb2.GetTileRequest(path=path)).reason == "LOG_RANGE"


# -- uploads that break ------------------------------------------------------------------------------------------------


def test_an_end_without_finish_commits_nothing_and_the_upload_resumes(site, rng):
    packed = site.random(rng)
    begun, size = site.begin(packed), log_size(site.stubs)
    half = list(chunks(begun.upload_id, packed.weights, finish=False))[:3]
    assert site.write(half) == 3 * 4096
    assert not site.status(begun.upload_id).finished
    assert (
        refused(site.stubs.contribute.Commit, pb.CommitRequest(upload_id=begun.upload_id)).reason == "UPLOAD_INCOMPLETE"
    )
    assert log_size(site.stubs) == size
    durable = site.begin(packed).committed_size
    assert durable == 3 * 4096
    site.write(list(chunks(begun.upload_id, packed.weights, durable)))
    assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_all_bytes_without_finish_are_not_a_whole_upload(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    site.write(list(chunks(begun.upload_id, packed.weights, finish=False)))
    assert not site.status(begun.upload_id).finished
    assert (
        refused(site.stubs.contribute.Commit, pb.CommitRequest(upload_id=begun.upload_id)).reason == "UPLOAD_INCOMPLETE"
    )
    last = pb.WriteRequest(upload_id=begun.upload_id, offset=len(packed.weights), finish_write=True)
    assert site.write([last]) == len(packed.weights)
    assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_a_client_that_vanishes_in_the_middle_leaves_what_was_durable(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    gone, part = threading.Event(), site.server.folder / "spool" / f"{begun.upload_id}.part"

    def vanishing():
        yield from list(chunks(begun.upload_id, packed.weights, finish=False))[:2]
        gone.wait(TIMEOUT)

    with certified_channel(site.server.anchors, site.contributor.tls, site.chain) as opened:
        call = opened.stream_unary(
            "/genepool.v1.ContributeService/Write",
            request_serializer=pb.WriteRequest.SerializeToString,
            response_deserializer=pb.WriteResponse.FromString,
        ).future(vanishing(), timeout=TIMEOUT)
        assert wait_until(lambda: part.is_file() and part.stat().st_size == 2 * 4096)
        call.cancel()
        gone.set()
    assert wait_until(lambda: site.begin(packed).committed_size == 2 * 4096)
    assert not site.status(begun.upload_id).finished
    site.write(list(chunks(begun.upload_id, packed.weights, 2 * 4096)))
    assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_a_wrong_offset_says_where_to_resume(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    skipping = pb.WriteRequest(upload_id=begun.upload_id, offset=4096, data=b"x")
    error = refused(site.stubs.contribute.Write, iter([skipping]))
    assert (error.reason, error.metadata["committed_size"]) == ("OFFSET", "0")


def test_a_newer_stream_takes_the_upload_over(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    parts = list(chunks(begun.upload_id, packed.weights))
    started, taken = threading.Event(), threading.Event()

    def slow():
        yield parts[0]
        started.set()
        taken.wait(TIMEOUT)
        yield parts[1]

    call = site.stubs.contribute.Write.future(slow(), timeout=TIMEOUT)
    assert started.wait(TIMEOUT)
    assert wait_until(lambda: site.status(begun.upload_id).committed_size == 4096)
    site.write(list(chunks(begun.upload_id, packed.weights, 4096)))
    taken.set()
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert from_rpc_error(caught.value, "the test").reason in ("UPLOAD_SUPERSEDED", "OFFSET")
    assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_a_stream_that_stalls_is_ended_and_its_upload_resumes(tmp_path, rng):
    with pool_server(tmp_path, serving={"stall_seconds": 0.5}) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "slow").join()
        packed = site.random(rng)
        begun = site.begin(packed)
        release = threading.Event()

        def stalling():
            yield next(chunks(begun.upload_id, packed.weights))
            release.wait(TIMEOUT)

        error = refused(site.stubs.contribute.Write, stalling())
        release.set()
        assert error.reason == "TOO_SLOW"
        site.write(list(chunks(begun.upload_id, packed.weights, site.begin(packed).committed_size)))
        assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


# -- what is refused, and how it is called -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pool": "another.pool/log"}, "AUDIENCE_MISMATCH"),
        ({"seq": 7}, "SEQ_GAP"),
        ({"prev": "1" * 64}, "PREV_MISMATCH"),
        ({"nonce": "A" * 43}, "NONCE_INVALID"),
        ({"not_after": "2020-01-01T00:00:00Z"}, "MANIFEST_EXPIRED"),
        ({"blueprint": "sha256:" + "0" * 64}, "BLUEPRINT_UNKNOWN"),
        ({"observed": Observed(size=10**6, root="A" * 43 + "=")}, "LOG_FORK"),
    ],
)
def test_a_wrong_statement_is_refused_before_a_byte_of_weights(site, rng, changes, reason):
    packed = site.random(rng, **changes)
    request = pb.BeginRequest(bundle=packed.bundle, manifest=packed.manifest)
    assert refused(site.stubs.contribute.Begin, request).reason == reason


def test_a_statement_that_somebody_else_signed_is_refused(site, new_site, rng):
    packed = site.contributor.sign(site.random(rng).manifest, b"", key=new_site().contributor.key)
    request = pb.BeginRequest(bundle=packed.bundle, manifest=packed.manifest)
    assert refused(site.stubs.contribute.Begin, request).reason == "KEY_UNKNOWN"


def test_garbage_is_refused(site):
    request = pb.BeginRequest(bundle=b"\x00garbage", manifest=b"{}")
    assert refused(site.stubs.contribute.Begin, request).reason == "JSON_MALFORMED"


def test_bytes_that_were_not_signed_are_refused_at_commit_and_may_be_sent_again(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    flipped = packed.weights[:-1] + bytes([packed.weights[-1] ^ 1])
    site.write(list(chunks(begun.upload_id, flipped)))
    assert (
        refused(site.stubs.contribute.Commit, pb.CommitRequest(upload_id=begun.upload_id)).reason == "DIGEST_MISMATCH"
    )
    assert site.begin(packed).committed_size == 0
    site.write(list(chunks(begun.upload_id, packed.weights)))
    assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


def test_weights_that_are_no_numbers_are_refused(site, rng):
    weights = bytearray(weights_of(site.blueprint, rng))
    weights[-2:] = np.array([np.nan], dtype="<f2").tobytes()
    packed = site.pack(bytes(weights))
    begun = site.begin(packed)
    site.write(list(chunks(begun.upload_id, packed.weights)))
    assert site.refused_commit(begun.upload_id) == "NON_FINITE"


def test_uploads_and_contributions_that_do_not_exist_are_named(site):
    unknown = "0" * 64
    contribute = site.stubs.contribute
    write = pb.WriteRequest(upload_id=unknown, data=b"x")
    assert refused(contribute.Write, iter([write])).reason == "UPLOAD_UNKNOWN"
    assert refused(contribute.Commit, pb.CommitRequest(upload_id=unknown)).reason == "UPLOAD_UNKNOWN"
    assert (
        refused(contribute.QueryWriteStatus, pb.QueryWriteStatusRequest(upload_id=unknown)).reason == "UPLOAD_UNKNOWN"
    )
    found = refused(contribute.GetContribution, pb.GetContributionRequest(contribution_id=unknown))
    assert found.reason == "CONTRIBUTION_UNKNOWN"


def test_a_chunk_above_the_limit_is_refused(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    large = pb.WriteRequest(upload_id=begun.upload_id, data=bytes(LIMITS.chunk_bytes + 1))
    assert refused(site.stubs.contribute.Write, iter([large])).reason == "CHUNK_TOO_LARGE"


def test_one_stream_serves_one_upload(site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    messages = [
        next(chunks(begun.upload_id, packed.weights)),
        pb.WriteRequest(upload_id="1" * 64, offset=4096, data=b"x"),
    ]
    assert refused(site.stubs.contribute.Write, iter(messages)).reason == "OPTION_INVALID"
