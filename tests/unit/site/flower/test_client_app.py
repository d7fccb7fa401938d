"""Which site a node is, and what it says when it is none; the way to a receipt is tested with a pool."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from genepool_client.site.code_identity import code_identity
from genepool_client.site.flower import failures, guard
from genepool_client.site.flower.client_app import SIMULATION_ROOT, app, site_folder
from genepool_protocol.wire.errors import GenepoolError


def context(**node_config) -> Context:
    return Context(run_id=1, node_id=7, node_config=node_config, state=RecordDict(), run_config={})


def test_a_simulated_node_is_the_site_of_its_partition(tmp_path, monkeypatch):
    monkeypatch.setenv(SIMULATION_ROOT, str(tmp_path))
    assert site_folder(context(**{"partition-id": 7, "num-partitions": 9})) == tmp_path / "site-007"


def test_a_real_node_says_its_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(SIMULATION_ROOT, raising=False)
    assert site_folder(context(**{"site-dir": str(tmp_path)})) == tmp_path
    for config in ({}, {"site-dir": ""}, {"site-dir": 3}):
        with pytest.raises(GenepoolError) as caught:
            site_folder(context(**config))
        assert caught.value.reason == "CONFIG_INVALID"


def test_a_folder_that_is_no_site_answers_a_constant_error(tmp_path, monkeypatch):
    monkeypatch.delenv(SIMULATION_ROOT, raising=False)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    message = Message(RecordDict({"config": ConfigRecord()}), 7, "query.contribute")
    reply = app(message, context(**{"site-dir": str(tmp_path)}))
    assert (reply.error.code, str(tmp_path) in reply.error.reason) == (failures.UNUSABLE.code, False)


def test_the_code_identity_fits_into_a_receipt():
    assert len(code_identity()) <= guard.MAX_TEXT
    assert code_identity().startswith("0.")
    assert code_identity().count("+") == 1
