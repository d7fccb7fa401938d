"""What is counted of a call that is over, and that no caller can make a series of his own."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from genepool_protocol.wire.access import ACCESS
from genepool_protocol.wire.errors import Refused, error
from genepool_server.front.guards.calls import CALL, Call, note
from genepool_server.observing import access_log
from genepool_server.observing.meter import METHODS, STAGES, Meter

V1 = "/genepool.v1."


def over(method: str, refusal: Exception | None = None, code: str = "OK", **facts) -> Call:
    call = Call(V1 + method, "0" * 16)
    token = CALL.set(call)
    note(**facts)
    CALL.reset(token)
    if refusal is not None:
        call.refuse(refusal)
    call.end(code)
    return call


def series(meter: Meter) -> dict[tuple[str, ...], float]:
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(generate_latest(meter.registry).decode())
        for one in family.samples
    }


def test_an_outcome_is_ok_refused_or_broken_off():
    meter = Meter()
    meter.count(over("DescendService/Descend", size=9))
    meter.count(over("DescendService/Descend", Refused("CONTRIBUTION_NOT_ACTIVE", "x", "")))
    meter.count(over("DescendService/Descend", code="CANCELLED", size=5))
    meter.count(over("ContributeService/Write", state="RECEIVED", size=3))
    meter.count(over("ContributeService/Write"))
    found = series(meter)
    for outcome in ("ok", "refused", "broken-off"):
        assert found[("genepool_descents_total", outcome)] == 1
    assert found[("genepool_descent_bytes_total",)] == 9
    assert (
        found[("genepool_ingest_total", "ok", "upload")]
        == found[("genepool_ingest_total", "broken-off", "upload")]
        == 1
    )


def test_what_strangers_choose_makes_no_series():
    meter = Meter()
    for number in range(50):
        call = over(f"PoolService/{number}", error(f"REASON_{number}", "x"))
        call.digest, call.site, call.state = str(number), f"site-{number}", f"state-{number}"
        meter.count(call)
    before = set(series(meter))
    assert ("genepool_refusals_total", "other") in before
    assert not [key for key in before if any(word.startswith(("site-", "state-", "REASON_")) for word in key)]
    meter.count(over("PoolService/another", error("ANOTHER", "x")))
    assert set(series(meter)) == before


def test_every_method_of_ours_has_a_label_and_every_recorded_one_exists():
    assert set(ACCESS) <= set(METHODS)
    assert set(access_log.EVENTS) <= set(ACCESS)
    assert set(STAGES) <= set(METHODS.values())


def test_a_refused_call_is_a_refusal_and_a_call_of_no_kind_is_not_recorded():
    assert access_log.event_of(over("DescendService/Descend")) == "descend"
    assert access_log.event_of(over("DescendService/Descend", error("BUSY", "x"))) == "refusal"
    assert access_log.event_of(over("PoolService/GetCapabilities")) == ""
    assert access_log.event_of(over("PoolService/GetCapabilities", error("BUSY", "x"))) == "refusal"


def test_outside_of_a_call_nothing_is_noted():
    assert CALL.get() is None
    note(digest="x", size=1)
