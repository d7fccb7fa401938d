"""Uploads: offsets, leases, resuming, limits. A flaw of one is found before anything is committed."""

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.contributions import uploads as spools
from genepool_server.pool.contributions.upload_statement import Ticket
from genepool_server.pool.contributions.uploads import Spool
from tests.support import sites as c
from tests.support.refusals import reason_of, refusal_of


@pytest.fixture
def begun(place):
    """An upload that has begun: id, lease and the bytes to send."""
    packed = place.pack()
    upload_id = place.intake.begin(packed.bundle, packed.manifest, c.NOW).upload_id
    return SimpleNamespace(id=upload_id, lease=place.intake.spool.lease(upload_id), data=packed.weights, packed=packed)


def test_the_upload_id_names_the_signed_payload(begun):
    assert begun.id == begun.packed.upload_id


def test_chunks_go_where_the_last_one_ended(place, begun):
    intake, data = place.intake, begun.data
    intake.spool.append(begun.id, 0, data[:100], begun.lease)
    for offset in (0, 99, 101, len(data), -1):
        error = refusal_of(intake.spool.append, begun.id, offset, data[100:200], begun.lease)
        assert (error.reason, error.metadata["committed_size"]) == ("OFFSET", "100")
    intake.spool.append(begun.id, 100, data[100:], begun.lease)
    assert intake.status(begun.id) == (len(data), False)


def test_an_upload_is_finished_when_it_is_said_to_be_and_is_whole(place, begun):
    intake, data = place.intake, begun.data
    intake.spool.append(begun.id, 0, data[:-1], begun.lease)
    error = refusal_of(intake.spool.finish, begun.id, begun.lease)
    assert (error.reason, error.metadata["committed_size"]) == ("UPLOAD_INCOMPLETE", str(len(data) - 1))
    intake.spool.append(begun.id, len(data) - 1, data[-1:], begun.lease)
    assert reason_of(intake.commit, begun.id, c.NOW) == "UPLOAD_INCOMPLETE"
    assert intake.spool.finish(begun.id, begun.lease) == intake.spool.finish(begun.id, begun.lease) == len(data)
    assert intake.status(begun.id) == (len(data), True)


def test_a_chunk_that_is_too_large_or_too_long_is_refused(place, begun):
    intake, data = place.intake, begun.data
    assert reason_of(intake.spool.append, begun.id, 0, bytes(LIMITS.chunk_bytes + 1), begun.lease) == "CHUNK_TOO_LARGE"
    assert reason_of(intake.spool.append, begun.id, 0, data + b"x", begun.lease) == "CHUNK_TOO_LARGE"
    intake.spool.append(begun.id, 0, data, begun.lease)
    intake.spool.finish(begun.id, begun.lease)
    assert reason_of(intake.spool.append, begun.id, len(data), b"x", begun.lease) == "CHUNK_TOO_LARGE"
    assert intake.spool.append(begun.id, len(data), b"", begun.lease) == len(data)


def test_a_newer_stream_ends_the_older_one(place, begun):
    intake = place.intake
    intake.spool.append(begun.id, 0, begun.data[:50], begun.lease)
    newer = intake.spool.lease(begun.id)
    assert reason_of(intake.spool.append, begun.id, 50, begun.data[50:], begun.lease) == "UPLOAD_SUPERSEDED"
    assert reason_of(intake.spool.finish, begun.id, begun.lease) == "UPLOAD_SUPERSEDED"
    intake.spool.append(begun.id, 50, begun.data[50:], newer)
    intake.spool.finish(begun.id, newer)
    assert intake.commit(begun.id, c.NOW).contribution_id == begun.id


@pytest.mark.parametrize("upload_id", ["", "0" * 64, "../../etc/passwd", "x" * 10_000, "\0"])
def test_an_upload_that_was_not_begun_is_unknown(place, upload_id):
    intake = place.intake
    assert reason_of(intake.spool.append, upload_id, 0, b"x", 1) == "UPLOAD_UNKNOWN"
    for call in (intake.spool.lease, intake.status):
        assert reason_of(call, upload_id) == "UPLOAD_UNKNOWN"
    assert reason_of(intake.spool.finish, upload_id, 1) == "UPLOAD_UNKNOWN"
    assert reason_of(intake.commit, upload_id, c.NOW) == "UPLOAD_UNKNOWN"


def test_beginning_again_resumes(place, begun):
    place.intake.spool.append(begun.id, 0, begun.data[:77], begun.lease)
    again = place.intake.begin(begun.packed.bundle, begun.packed.manifest, c.NOW)
    assert (again.upload_id, again.committed_size, again.already_logged) == (begun.id, 77, False)


def test_an_upload_resumes_after_a_restart(place, begun):
    place.intake.spool.append(begun.id, 0, begun.data[:77], begun.lease)
    place.reopen()
    assert place.intake.status(begun.id) == (77, False)
    assert reason_of(place.intake.spool.append, begun.id, 77, b"x", begun.lease) == "UPLOAD_SUPERSEDED"
    lease = place.intake.spool.lease(begun.id)
    place.intake.spool.append(begun.id, 77, begun.data[77:], lease)
    place.intake.spool.finish(begun.id, lease)
    place.reopen()
    assert place.intake.status(begun.id) == (len(begun.data), True)
    assert place.intake.commit(begun.id, c.NOW).contribution_id == begun.id


def test_bytes_are_durable_in_steps_and_whenever_somebody_asks(place, begun, monkeypatch):
    monkeypatch.setattr(spools, "LIMITS", replace(LIMITS, fsync_bytes=1000))
    intake, data = place.intake, begun.data
    assert intake.spool.append(begun.id, 0, data[:999], begun.lease) == 0
    assert intake.spool.append(begun.id, 999, data[999:1500], begun.lease) == 1500
    assert intake.spool.append(begun.id, 1500, data[1500:2000], begun.lease) == 1500
    assert intake.status(begun.id)[0] == 2000


def test_a_site_has_a_bounded_number_of_uploads(place):
    for _ in range(LIMITS.open_uploads):
        packed = place.pack()
        place.intake.begin(packed.bundle, packed.manifest, c.NOW)
    one_more = place.pack()
    assert reason_of(place.intake.begin, one_more.bundle, one_more.manifest, c.NOW) == "TOO_MANY_UPLOADS"
    place.intake.begin(packed.bundle, packed.manifest, c.NOW)
    other = place.pack(place.b)
    assert place.intake.begin(other.bundle, other.manifest, c.NOW).committed_size == 0


def test_uploads_that_can_never_be_committed_make_room(place):
    uploads = [c.upload(place.pool, place.pack()) for _ in range(LIMITS.open_uploads)]
    place.intake.commit(uploads[2], c.NOW)
    one_more = place.pack()
    place.intake.begin(one_more.bundle, one_more.manifest, c.NOW)
    for stale in (uploads[0], uploads[1], uploads[3]):
        assert reason_of(place.intake.status, stale) == "UPLOAD_UNKNOWN"


def test_expired_uploads_make_room(place):
    for _ in range(LIMITS.open_uploads):
        packed = place.pack()
        place.intake.begin(packed.bundle, packed.manifest, c.NOW)
    later = c.NOW + timedelta(days=2)
    nonce = place.intake.begin_nonce("site-a", later).nonce
    fresh = place.pack(nonce=nonce, not_after="2027-01-01T00:00:00Z")
    assert place.intake.begin(fresh.bundle, fresh.manifest, later).committed_size == 0


def test_an_upload_begins_only_when_there_is_room(place, monkeypatch):
    usage = shutil.disk_usage(place.folder)
    packed = place.pack()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=64 << 20))
    assert reason_of(place.intake.begin, packed.bundle, packed.manifest, c.NOW) == "SPOOL_FULL"
    assert list((place.folder / "spool").iterdir()) == []


def test_what_others_may_still_send_counts_as_used(tmp_path, monkeypatch):
    (tmp_path / "spool").mkdir()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(64 << 20) + 1500))
    spool = Spool(tmp_path / "spool")
    spool.begin(Ticket("a" * 64, "site-a", 1000, b"bundle", b"manifest"))
    ticket = Ticket("b" * 64, "site-b", 1000, b"bundle", b"manifest")
    assert reason_of(spool.begin, ticket) == "SPOOL_FULL"


def test_left_overs_and_damaged_tickets_are_dropped_when_the_pool_opens(place, begun):
    place.intake.spool.append(begun.id, 0, begun.data[:10], begun.lease)
    place.pool.close()
    spool = place.folder / "spool"
    for name in ("1" * 64 + ".part", "2" * 64 + ".done", f".{'3' * 64}.json.new"):
        (spool / name).write_bytes(b"left over")
    for name, content in (
        ("4" * 64, b"{}"),
        ("5" * 64, b"\xff"),
        ("6" * 64, (spool / f"{begun.id}.json").read_bytes()),
    ):
        (spool / f"{name}.json").write_bytes(content)
    place.reopen()
    assert sorted(path.name for path in spool.iterdir()) == [f"{begun.id}.json", f"{begun.id}.part"]
    assert place.intake.status(begun.id) == (10, False)


def test_bytes_that_a_failed_sync_lost_are_sent_again(place, begun, monkeypatch):
    intake = place.intake
    intake.spool.append(begun.id, 0, begun.data[:100], begun.lease)
    intake.status(begun.id)
    intake.spool.append(begun.id, 100, begun.data[100:200], begun.lease)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert reason_of(intake.spool.finish, begun.id, begun.lease) == "DISK_FAILED"
    assert intake.status(begun.id) == (100, False)
    intake.spool.append(begun.id, 100, begun.data[100:], begun.lease)
    intake.spool.finish(begun.id, begun.lease)
    assert intake.commit(begun.id, c.NOW).contribution_id == begun.id
