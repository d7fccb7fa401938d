"""The doctor: what is well, what is not, and what to do about it."""

import shutil
from importlib import metadata
from types import SimpleNamespace

import pytest

from genepool_client.commands import doctor
from genepool_protocol.machine.launching import QUIET


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)


def found(findings, check):
    return next(finding for finding in findings if finding.check == check)


def test_this_machine_is_well(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    findings = doctor.examine(("site", "consumer", "server"))
    assert [str(finding) for finding in findings if not finding.ok] == []
    assert {"python", "torch", "timm", "ray", "flwr", "shared memory", "clock"} <= {one.check for one in findings}


def test_a_consumer_is_not_asked_for_ray():
    checks = {finding.check for finding in doctor.examine(("consumer",))}
    assert not {"ray", "flwr", "shared memory"} & checks


def test_a_missing_package_says_what_to_install(monkeypatch):
    true = metadata.version

    def version(name):
        if name == "timm":
            raise metadata.PackageNotFoundError(name)
        return true(name)

    monkeypatch.setattr(metadata, "version", version)
    finding = found(doctor.examine(("consumer",)), "timm")
    assert not finding.ok
    assert "genepool[consumer]" in str(finding)


@pytest.mark.parametrize(("name", "version"), [("ray", "2.60.0"), ("protobuf", "7.0.0"), ("timm", "0.9.0")])
def test_a_version_that_does_not_fit_is_a_problem(monkeypatch, name, version):
    true = metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: version if asked == name else true(asked))
    finding = found(doctor.examine(("consumer", "server")), name)
    assert not finding.ok
    assert "genepool needs" in finding.found


def test_a_loud_switch_is_named(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    finding = found(doctor.examine(("consumer",)), "quiet switches")
    assert not finding.ok
    assert "RAY_USAGE_STATS_ENABLED" in finding.found


def test_a_full_disk_and_a_small_shared_memory_are_problems(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    findings = doctor.examine(("server",))
    assert not found(findings, "free disk").ok
    assert not found(findings, "shared memory").ok


def test_a_long_temporary_folder_is_a_problem_for_those_who_run_ray(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/" + "x" * 60)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    assert not found(doctor.examine(("server",)), "temporary folder").ok
    assert found(doctor.examine(("consumer",)), "temporary folder").ok


def test_a_pool_file_that_is_missing_is_a_finding_and_not_a_crash(tmp_path):
    finding = found(doctor.examine(("consumer",), str(tmp_path / "pool.json")), f"pool {tmp_path / 'pool.json'}")
    assert not finding.ok
    assert "PATH_MISSING" in finding.found
