"""The folder of a deployment, what is noted of a process, and the addresses of its networks."""

import os
import subprocess
import sys

import pytest

from genepool_client.deployment import namespaces
from genepool_client.deployment.end import end
from genepool_client.deployment.folder import DeploymentFolder, Layout
from genepool_client.deployment.namespaces import NoNamespacesError, SiteNetworks
from genepool_client.deployment.recorded import MODULE, ProcessRecord
from genepool_protocol.machine.processes import beginning
from genepool_protocol.wire.errors import GenepoolError


def reason(call, *arguments) -> str:
    with pytest.raises(GenepoolError) as caught:
        call(*arguments)
    return caught.value.reason


def test_a_process_is_noted_before_it_becomes_the_program(tmp_path):
    path = tmp_path / "it.json"
    program = f"import os, pathlib; print(os.getpid(), pathlib.Path({str(path)!r}).exists())"
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, path, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as child:
        printed = child.stdout.read().split()
    record = ProcessRecord.model_validate_json(path.read_bytes())
    assert printed == [str(record.pid), "True"]
    assert record.pid == child.pid
    assert not record.alive


def test_a_number_that_is_given_anew_is_not_taken_for_the_process():
    own = os.getpid()
    assert ProcessRecord(pid=own, began=beginning(own)).alive
    assert not ProcessRecord(pid=own, began="1").alive
    assert not ProcessRecord(pid=own, began="").alive


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert reason(DeploymentFolder(tmp_path).make) == "PATH_NOT_EMPTY"
    assert reason(end, tmp_path) == "FILE_MISSING"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_do_not_work_in_one_folder_at_once(tmp_path):
    folder = DeploymentFolder(tmp_path / "up")
    folder.make()
    with folder.alone():
        assert reason(DeploymentFolder(folder.path).alone().__enter__) == "FOLDER_IN_USE"
    with folder.alone():
        assert folder.layout() == Layout()


def test_a_record_that_was_damaged_is_named(tmp_path):
    folder = DeploymentFolder(tmp_path / "up")
    folder.make()
    (folder.processes / "pool.json").write_text('{"schema": "genepool.process/v1", "pid": "12"}')
    assert reason(folder.running) == "FILE_MALFORMED"


def test_no_two_sites_have_an_address_and_none_has_the_pools():
    network = SiteNetworks(number=7, sites=250)
    addresses = {network.address(site) for site in range(network.sites)}
    assert len(addresses | {network.pool}) == 251
    assert network.address(249) == "10.213.7.251"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_who_may_not_make_namespaces_is_told_why():
    with pytest.raises(NoNamespacesError, match="only root"):
        namespaces.plan(1)


def test_more_sites_than_one_network_holds_are_refused():
    with pytest.raises(NoNamespacesError):
        namespaces.plan(251)
