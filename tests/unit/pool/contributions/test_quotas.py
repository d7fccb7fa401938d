"""What one site may take of a pool, and when it may come back."""

from datetime import timedelta

import pytest

from genepool_protocol.wire.errors import Unavailable
from genepool_server.pool.contributions.quotas import Quotas
from tests.support import sites as c

TOMORROW = c.NOW + timedelta(hours=13)


def refused(call, *arguments) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        call(*arguments)
    return caught.value


def test_a_site_contributes_so_often_a_day_and_others_are_not_held_back(place):
    place.reopen(quotas=Quotas(contributions_per_day=2))
    place.contribute(place.a)
    place.contribute(place.a)
    packed = place.pack(place.a)
    error = refused(place.intake.begin, packed.bundle, packed.manifest, c.NOW)
    assert (error.reason, error.metadata["retry_seconds"]) == ("QUOTA_EXCEEDED", str(12 * 3600 + 1))
    place.contribute(place.b)
    place.reopen(quotas=Quotas(contributions_per_day=2))  # a restart forgives nothing
    assert refused(place.intake.begin, packed.bundle, packed.manifest, c.NOW).reason == "QUOTA_EXCEEDED"
    assert place.intake.begin(packed.bundle, packed.manifest, TOMORROW).committed_size == 0
    assert place.reopen().contributions.intake.begin(packed.bundle, packed.manifest, c.NOW).committed_size == 0


def test_an_upload_that_began_before_the_day_was_full_waits_for_the_next(place):
    pool = place.reopen(quotas=Quotas(contributions_per_day=1))
    first = c.upload(pool, place.pack(place.a))
    place.intake.commit(first, c.NOW)
    pool = place.reopen(quotas=Quotas(contributions_per_day=2))
    second = c.upload(pool, place.pack(place.a))
    pool = place.reopen(quotas=Quotas(contributions_per_day=1))
    assert refused(place.intake.commit, second, c.NOW).reason == "QUOTA_EXCEEDED"
    assert len(pool.contributions.all()) == 1
    assert place.intake.commit(first, c.NOW).contribution_id == first  # the same receipt costs nothing
    assert place.intake.commit(second, TOMORROW).contribution_id == second


def test_the_unfinished_uploads_of_a_site_have_so_much_room(place):
    size = len(place.weights())
    place.reopen(quotas=Quotas(spool_bytes=2 * size, open_uploads=3))
    begun = [place.pack(place.a) for _ in range(3)]
    for packed in begun[:2]:
        place.intake.begin(packed.bundle, packed.manifest, c.NOW)
    error = refused(place.intake.begin, begun[2].bundle, begun[2].manifest, c.NOW)
    assert (error.reason, error.metadata["retry_seconds"]) == ("QUOTA_EXCEEDED", "300")
    assert place.intake.begin(begun[1].bundle, begun[1].manifest, c.NOW).upload_id == begun[1].upload_id
    other = place.pack(place.b)
    assert place.intake.begin(other.bundle, other.manifest, c.NOW).committed_size == 0


def test_a_site_has_so_many_unfinished_uploads(place):
    place.reopen(quotas=Quotas(open_uploads=1))
    first, second = place.pack(place.a), place.pack(place.a)
    place.intake.begin(first.bundle, first.manifest, c.NOW)
    error = refused(place.intake.begin, second.bundle, second.manifest, c.NOW)
    assert (error.reason, error.metadata["retry_seconds"]) == ("TOO_MANY_UPLOADS", "300")
