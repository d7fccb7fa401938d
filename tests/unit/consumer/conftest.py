import pytest

from genepool_protocol.learngene.size import Size
from tests.unit.consumer.forge import Forge


@pytest.fixture(scope="session")
def forge(tmp_path_factory) -> Forge:
    return Forge(tmp_path_factory.mktemp("forge"))


@pytest.fixture(scope="session")
def members(forge):
    """Three contributions by two sites."""
    return [forge.contribute("site-a"), forge.contribute("site-b", license="Apache-2.0"), forge.contribute("site-a")]


@pytest.fixture(scope="session")
def order(forge, members):
    return forge.order([(members[0], 500), (members[1], -250)], Size(2, 2))


@pytest.fixture
def folder(forge, order, tmp_path):
    """A descendant of two learngenes."""
    return forge.descend(tmp_path / "descendant", order)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Nothing is remembered or cached outside of the test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GENEPOOL_HOME", str(home / "config"))
    monkeypatch.setenv("GENEPOOL_CACHE", str(home / "cache"))
