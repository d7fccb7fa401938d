"""Screens and canary beside a server: the receipt comes at once, the state later, and both survive a kill."""

import signal
from contextlib import contextmanager

import pytest

from genepool_protocol.trust import envelope, receipt
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_server.pool.upkeep.fsck import fsck
from tests.integration.server.wire import WireSite, chunks
from tests.support import server as s
from tests.support import spoilers


@contextmanager
def screened(parent, **changes):
    with s.pool_server(parent, screening="enforce", **changes) as server, server.stubs() as stubs:
        yield server, stubs


def learngene(server, number, disguise=None):
    """A file of a kind that the screens find nothing in, unless it is disguised."""
    loaded = server.pool.blueprint("tiny-16")
    seed = spoilers.seed_of(loaded.blueprint, loaded.seed_path)
    delta = 0.3 * spoilers.honest(loaded.blueprint, seed, number)
    return spoilers.file(loaded.blueprint, disguise(loaded.blueprint, delta) if disguise else delta)


def contribute(site, weights):
    packed = site.pack(weights)
    begun = site.begin(packed)
    site.write(list(chunks(begun.upload_id, packed.weights)))
    return site.commit(begun.upload_id)


def told(site, done):
    """State and reasons, as the site's own program asks for them."""
    request = pb.GetContributionRequest(contribution_id=done.contribution_id)
    answer = site.stubs.contribute.GetContribution(request, timeout=s.TIMEOUT)
    return answer.state, answer.note


def settles(site, done):
    assert s.wait_until(lambda: told(site, done)[0] != pb.CONTRIBUTION_STATE_QUARANTINED or told(site, done)[1], 180)
    return told(site, done)


def test_a_receipt_comes_at_once_and_the_review_s_reasons_go_back_to_the_site(tmp_path):
    with screened(tmp_path) as (server, stubs):
        north, south = (WireSite(server, stubs, name).join() for name in ("north", "south"))
        done = contribute(north, learngene(server, 1))
        assert done.state == pb.CONTRIBUTION_STATE_QUARANTINED
        bundle = envelope.parse(done.receipt)
        receipt.verify(bundle, envelope.verify(bundle, north.contributor.key.public), server.trusted.log)
        state, note = settles(north, done)
        assert (state, note) == (pb.CONTRIBUTION_STATE_ACTIVE, "passed every check, the screens and the canary")
        copy = contribute(south, learngene(server, 1, spoilers.permuted))
        state, note = settles(south, copy)
        assert state == pb.CONTRIBUTION_STATE_REJECTED, note
        assert "NEAR_COPY: it is too much like contribution" in note
        shown = s.operate(server.folder, "show", copy.contribution_id)
        assert (shown["state"], shown["note"]) == ("REJECTED", note)
        assert [
            one.contribution_id
            for one in server.pool.contributions.active(server.pool.blueprint("tiny-16").blueprint, ())
        ] == [done.contribution_id]
        assert fsck(server.folder) == []


def test_a_site_can_withdraw_what_is_still_quarantined(tmp_path):
    with screened(tmp_path, admission="manual") as (server, stubs):
        site = WireSite(server, stubs, "north").join()
        done = contribute(site, learngene(server, 1))
        state, note = settles(site, done)
        assert (state, note.split(":")[0]) == (pb.CONTRIBUTION_STATE_QUARANTINED, "waits for the operator")
        server.pool.contributions.withdraw_as_operator(done.contribution_id, "")
        assert told(site, done)[0] == pb.CONTRIBUTION_STATE_WITHDRAWN


@pytest.mark.slow
def test_a_server_killed_during_reviews_takes_them_up_again(tmp_path):
    folder = s.new_pool(tmp_path / "pool", screening="enforce")
    with s.serving(folder) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "north").join()
        files = [learngene(server, number) for number in range(3)]
    with s.server_process(folder) as process:
        again = s.Server(folder, process.address, None, None)
        with again.stubs() as stubs:
            back = site.again(again, stubs)
            back.server = server  # its blueprint
            back.server.folder = folder
            done = [contribute(back, weights) for weights in files]
            assert {one.state for one in done} == {pb.CONTRIBUTION_STATE_QUARANTINED}
        process.end(signal.SIGKILL)
    assert fsck(folder) == []
    with s.serving(folder) as server, server.stubs() as stubs:
        assert s.wait_until(
            lambda: len(server.pool.contributions.active(server.pool.blueprint("tiny-16").blueprint, ())) == len(files),
            180,
        )
    assert fsck(folder) == []
