"""`genepool simulate --benchmark` where the wheel is installed and the lab is not."""

import sys

import pytest
from typer.testing import CliRunner

from genepool_client.commands import cli


@pytest.fixture
def without_lab(monkeypatch):
    monkeypatch.setitem(sys.modules, "genepool_lab", None)
    monkeypatch.delitem(sys.modules, "genepool_lab.benchmark", raising=False)


@pytest.mark.usefixtures("without_lab")
def test_the_benchmark_says_where_the_lab_is(tmp_path):
    result = CliRunner().invoke(cli.app, ["simulate", "--benchmark", "--report", str(tmp_path)])
    assert result.exit_code != 0
    assert getattr(result.exception, "reason", "") == "DEPENDENCY_MISSING"
