"""Sums of calls: counted, kept in a file across processes, and never a reason to fail."""

import json

import pytest

from genepool_client.transport import tally
from genepool_client.transport.tally import METHODS, SECONDS, Tally
from genepool_protocol.v1 import contribute_pb2, pool_pb2
from genepool_protocol.wire.errors import error


def test_a_call_is_counted_by_method_and_status():
    counted = Tally()
    with counted.counting(contribute_pb2.BeginRequest):
        pass
    with pytest.raises(Exception, match="full"), counted.counting(contribute_pb2.BeginRequest):
        raise error("BUSY", "full")
    row = counted.methods()["ContributeService/Begin"]
    assert row.codes == {"OK": 1, "RESOURCE_EXHAUSTED": 1}
    assert (row.buckets[0], sum(row.buckets)) == (2, 2)


def test_every_request_belongs_to_one_method():
    assert len(METHODS) == len(tally._METHODS)


def test_a_file_sums_up_what_several_processes_counted(tmp_path):
    path = tmp_path / "calls.json"
    for seconds in (0.01, 5000.0):
        counted = Tally()
        counted.add(pool_pb2.GetCapabilitiesRequest, "OK", seconds)
        counted.move_to(path)
        assert counted.methods() == {}
    row = tally.read(path).methods()["PoolService/GetCapabilities"]
    assert (row.codes["OK"], row.seconds) == (2, 5000.01)
    assert (row.buckets[0], row.buckets[-1], len(row.buckets)) == (1, 1, len(SECONDS) + 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"methods": 1}',
        b'{"methods": {"PoolService/GetCapabilities": {}}}',
        b'{"methods": {"PoolService/GetCapabilities": {"codes": {}, "seconds": 1, "buckets": [1]}}}',
    ],
)
def test_a_file_that_is_none_counts_nothing(tmp_path, content):
    path = tmp_path / "calls.json"
    path.write_bytes(content)
    assert tally.read(path).methods() == {}
    assert tally.read(tmp_path / "missing").methods() == {}


def test_a_file_makes_no_series_of_its_own(tmp_path):
    row = {"codes": {"OK": 1, "/data/patient.png": 4}, "seconds": 1.0, "buckets": [1] + [0] * len(SECONDS)}
    path = tmp_path / "calls.json"
    path.write_text(json.dumps({"methods": {"PoolService/GetCapabilities": row, "class/dog": row}}))
    found = tally.read(path).methods()
    assert set(found) == {"PoolService/GetCapabilities"}
    assert found["PoolService/GetCapabilities"].codes == {"OK": 1}
