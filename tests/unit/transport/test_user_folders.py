"""Where a user's settings and caches lie, which no version may move."""

from pathlib import Path

import pytest

from genepool_client.transport import user_folders
from genepool_protocol.wire.errors import GenepoolError

CASES = [
    ({}, "{home}/.config/genepool", "{home}/.cache/genepool"),
    ({"XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/k"}, "/c/genepool", "/k/genepool"),
    ({"XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}, "{home}/.config/genepool", "{home}/.cache/genepool"),
    ({"GENEPOOL_HOME": "", "GENEPOOL_CACHE": ""}, "{home}/.config/genepool", "{home}/.cache/genepool"),
    ({"XDG_CONFIG_HOME": "/c", "GENEPOOL_HOME": "/mine", "GENEPOOL_CACHE": "here"}, "/mine", "here"),
]


@pytest.mark.parametrize(("given", "home", "cache"), CASES)
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_they_are_where_they_always_were(tmp_path, monkeypatch, system, given, home, cache):
    monkeypatch.setattr("sys.platform", system)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "GENEPOOL_HOME", "GENEPOOL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **given}.items():
        monkeypatch.setenv(name, value)
    assert user_folders.home() == Path(home.format(home=tmp_path))
    assert user_folders.default_cache() == Path(cache.format(home=tmp_path))
    assert not list(tmp_path.iterdir()), "asking makes nothing"


def test_a_user_without_a_home_is_told_which_variable_helps(monkeypatch):
    """As platformdirs finds it in a container whose user has neither HOME nor an entry in /etc/passwd."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "GENEPOOL_HOME", "GENEPOOL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    for folder, variable in ((user_folders.home, "GENEPOOL_HOME"), (user_folders.default_cache, "GENEPOOL_CACHE")):
        with pytest.raises(GenepoolError) as caught:
            folder()
        assert caught.value.reason == "CONFIG_INVALID"
        assert variable in caught.value.fix
