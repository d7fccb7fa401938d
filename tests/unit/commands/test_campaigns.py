"""What `genepool-server campaign` takes for a deadline, and refuses before anything is started."""

from datetime import UTC, datetime, timedelta

import pytest

from genepool_protocol.wire.documents import stamp
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.commands import campaigns


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)])
def test_a_deadline_may_be_a_span(text, seconds):
    left = campaigns.end_of(text) - datetime.now(UTC)
    assert abs(left.total_seconds() - seconds) < 5


def test_a_deadline_may_be_a_time():
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    assert campaigns.end_of(stamp(end)) == end


@pytest.mark.parametrize(
    "text", ["", "0s", "5", "5w", "-3h", "9999999999d", "999999999d", "2020-01-01T00:00:00Z", "soon"]
)
def test_another_deadline_is_refused(text):
    with pytest.raises(GenepoolError) as caught:
        campaigns.end_of(text)
    assert caught.value.reason == "OPTION_INVALID"


def test_more_contributions_than_sites_cannot_come(tmp_path):
    with pytest.raises(GenepoolError) as caught:
        campaigns._check(tmp_path, ("a",), 2)
    assert caught.value.reason == "OPTION_INVALID"


def test_a_pool_that_nobody_serves_is_told(tmp_path):
    with pytest.raises(GenepoolError) as caught:
        campaigns._check(tmp_path, ("a",), 1)
    assert (caught.value.reason, "genepool-server serve" in caught.value.fix) == ("POOL_UNREACHABLE", True)
