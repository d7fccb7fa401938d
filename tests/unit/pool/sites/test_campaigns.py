"""The record of a campaign: whole, private, found by its first characters, and never open without its process."""

import os
import stat
import subprocess
import sys

import pytest

from genepool_protocol.machine.processes import beginning, terminate
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns, SiteRecord, this_process

LATER = "2099-01-01T00:00:00Z"


@pytest.fixture
def campaigns(tmp_path):
    return Campaigns(tmp_path / "campaigns")


@pytest.fixture
def other():
    """A process that is not this one."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def record(number: int = 1, **values) -> CampaignRecord:
    pid, process = this_process()
    return CampaignRecord.model_validate(
        {
            "id": f"{number:08x}", "state": "running", "pid": pid, "process": process, "min_sites": 1,
            "bundle": "sha256:" + "0" * 64, "began": f"2026-01-0{number}T00:00:00Z", "deadline": "2026-02-01T00:00:00Z",
        } | values
    )  # fmt: skip


def reason(call, *arguments) -> str:
    with pytest.raises(GenepoolError) as caught:
        call(*arguments)
    return caught.value.reason


def test_records_are_private_and_kept_in_the_order_of_their_beginnings(campaigns):
    assert list(campaigns.each()) == []
    for number in (2, 1):
        campaigns.create(record(number, sites=[SiteRecord(site="a", progress="failed", reason="\u202eno")]))
    assert [entry.id for entry in campaigns.each()] == ["00000001", "00000002"]
    assert campaigns.get("00000002") == record(2, sites=[SiteRecord(site="a", progress="failed", reason="\u202eno")])
    assert stat.S_IMODE(campaigns.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in campaigns.folder.glob("*.json")} == {0o600}


def test_an_id_that_names_none_or_several_is_refused(campaigns):
    campaigns.create(record(1))
    campaigns.create(record(2))
    assert reason(campaigns.get, "f") == reason(campaigns.get, "") == "CAMPAIGN_UNKNOWN"
    assert reason(campaigns.get, "0000000") == "OPTION_INVALID"
    assert campaigns.get("00000001").id == "00000001"


DAMAGE = [b"", b"{", b'{"id": 1}', b"\xff\x00", b"[]"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_was_damaged_is_named_and_stops_no_other(campaigns, damage):
    for number in (1, 2):
        campaigns.create(record(number))
    (campaigns.folder / "00000001.json").write_bytes(damage)
    assert [entry.id for entry in campaigns.each()] == ["00000002"]
    ((path, exc),) = campaigns.damaged()
    assert (path.name, exc.reason) == ("00000001.json", "LEDGER_INCONSISTENT")
    assert "00000001.json" in exc.message
    assert "backup" in exc.fix
    assert reason(campaigns.get, "00000001") == "LEDGER_INCONSISTENT"
    assert campaigns.get("00000002") == campaigns.running() == record(2)
    assert campaigns.enter("a", SigningKey.generate().public).id == "00000002"


def test_a_record_under_another_ones_name_is_damaged(campaigns):
    campaigns.create(record(1))
    campaigns.path("00000001").rename(campaigns.path("00000002"))
    assert list(campaigns.each()) == []
    assert [path.name for path, _ in campaigns.damaged()] == ["00000002.json"]


def test_a_damaged_key_of_a_node_is_entered_again_and_stops_no_other(campaigns):
    first, second = SigningKey.generate().public, SigningKey.generate().public
    campaigns.create(record(1))
    campaigns.enter("a", first)
    campaigns.enter("b", second)
    (campaigns.node_keys("00000001") / "a").write_text("no key")
    assert dict(campaigns.nodes("00000001")) == {"b": second}
    campaigns.enter("a", first)
    assert dict(campaigns.nodes("00000001")) == {"a": first, "b": second}


def test_what_nobody_runs_any_more_is_interrupted(campaigns, other):
    campaigns.create(record(1, pid=other.pid, process=beginning(other.pid), nodes={"a": "k"}, deadline=LATER))
    assert campaigns.settle(campaigns.get("00000001")).state == "running"
    assert campaigns.running() is not None
    other.kill()
    other.wait()
    assert campaigns.running() is None
    settled = campaigns.settle(campaigns.get("00000001"))
    assert (settled.state, settled.ended, settled.nodes) == ("interrupted", "", {})
    assert str(other.pid) in settled.note
    assert campaigns.settle(settled) == campaigns.get("00000001") == settled
    stopped = campaigns.give_up(settled)
    assert (stopped.state, bool(stopped.ended), campaigns.get("00000001")) == ("stopped", True, stopped)


@pytest.mark.parametrize("state", ["running", "interrupted"])
@pytest.mark.parametrize(("needed", "verdict"), [(1, "completed"), (2, "quorum missed")])
def test_what_nobody_went_on_with_is_over_at_its_deadline(campaigns, state, needed, verdict):
    sites = [SiteRecord(site="a", progress="accepted"), SiteRecord(site="b")]
    campaigns.create(record(1, pid=1, process="gone", state=state, min_sites=needed, sites=sites))
    settled = campaigns.settle(campaigns.get("00000001"))
    assert (settled.state, settled.ended) == (verdict, settled.deadline)
    assert campaigns.get("00000001") == settled


def test_a_site_waits_for_a_campaign_that_was_interrupted_unless_another_one_runs(campaigns):
    key = SigningKey.generate().public
    campaigns.create(record(1, pid=1, process="gone", deadline=LATER))
    campaigns.create(record(2, pid=1, process="gone", state="interrupted", deadline=LATER))
    campaigns.create(record(3, pid=1, process="gone", state="interrupted"))  # its deadline is over
    campaigns.create(record(4, state="stopped", deadline=LATER))
    assert campaigns.enter("a", key).id == "00000002"
    assert dict(campaigns.nodes("00000002")) == {"a": key}
    campaigns.create(record(5, began="2025-01-01T00:00:00Z", chosen=["b"]))
    assert (campaigns.enter("a", key).id, campaigns.enter("b", key).id) == ("00000002", "00000005")


def test_a_process_with_the_same_number_is_not_taken_for_it(campaigns, other):
    campaigns.create(record(1, pid=other.pid, process="1"))
    assert campaigns.running() is None
    assert not terminate(other.pid, "1")
    assert not terminate(other.pid, "")
    assert other.poll() is None
    assert terminate(other.pid, beginning(other.pid))
    assert other.wait(10) != 0


def test_a_process_that_has_ended_is_none(other):
    began = beginning(other.pid)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
    assert beginning(other.pid) == ""
    assert not terminate(other.pid, began)


def test_a_site_enters_with_a_key_of_its_own(campaigns):
    key, another = SigningKey.generate().public, SigningKey.generate().public
    assert reason(campaigns.enter, "a", key) == "CAMPAIGN_UNKNOWN"
    campaigns.create(record(1, chosen=["a", "b"]))
    assert campaigns.enter("a", key).id == "00000001"
    assert campaigns.enter("a", key) == record(1, chosen=["a", "b"])
    assert reason(campaigns.enter, "b", key) == "KEY_IN_USE"
    assert reason(campaigns.enter, "c", another) == "CAMPAIGN_UNKNOWN"
    campaigns.enter("a", another)
    campaigns.enter("b", key)
    assert dict(campaigns.nodes("00000001")) == {"a": another, "b": key}
