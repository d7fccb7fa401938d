"""How long a campaign waits before it starts Flower anew, and which campaigns can be gone on with."""

import pytest

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.campaign import conduct
from genepool_server.campaign.conduct import Pauses
from genepool_server.pool.sites.campaigns import CampaignRecord

BUNDLE = "sha256:" + "0" * 64


def record(**values) -> CampaignRecord:
    return CampaignRecord.model_validate(
        {
            "id": "00000001", "state": "interrupted", "pid": 1, "process": "gone", "bundle": BUNDLE, "min_sites": 1,
            "began": "2026-01-01T00:00:00Z", "deadline": "2099-01-01T00:00:00Z", "restarts": 2, "note": "gone",
        } | values
    )  # fmt: skip


def test_pauses_grow_to_a_bound_and_begin_again_after_what_has_lasted(monkeypatch):
    pauses, pause = Pauses(), []
    for _ in range(8):
        pauses.begin()
        pause.append(pauses.end())
    assert pause == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    monkeypatch.setattr(conduct, "_LASTED", -1.0)
    pauses.begin()
    assert pauses.end() == 1.0


@pytest.mark.parametrize("state", ["interrupted", "failed", "stopped"])
def test_what_has_time_left_is_gone_on_with(state):
    conduct._require_resumable(record(state=state), BUNDLE)
    again = conduct._again(record(state=state))
    assert (again.state, again.restarts, again.note, again.alive) == ("starting", 3, "", True)


@pytest.mark.parametrize(
    "values",
    [
        {"state": "completed"},
        {"state": "quorum missed"},
        {"state": "running"},
        {"deadline": "2026-01-02T00:00:00Z"},
        {"bundle": "sha256:" + "1" * 64},
    ],
)
def test_another_is_not(values):
    with pytest.raises(GenepoolError) as caught:
        conduct._require_resumable(record(**values), BUNDLE)
    assert (caught.value.reason, "campaign start" in caught.value.fix) == ("STATE_TRANSITION", True)
