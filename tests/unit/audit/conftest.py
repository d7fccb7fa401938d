import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Nothing is remembered outside of the test."""
    monkeypatch.setenv("GENEPOOL_HOME", str(tmp_path_factory.mktemp("home")))
