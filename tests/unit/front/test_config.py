"""genepool.toml: what people write, and what they hear when it is wrong."""

import tomllib

import pytest

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound
from genepool_server.commands.names import edited
from genepool_server.config import CONFIG_FILE, ServerConfig, load, parse
from genepool_server.net import Address


def reason_of(action) -> GenepoolError:
    with pytest.raises(GenepoolError) as caught:
        action()
    return caught.value


def test_the_file_says_the_defaults_with_a_comment_for_every_key(tmp_path):
    text = ServerConfig().to_toml()
    (tmp_path / CONFIG_FILE).write_text(text)
    assert load(tmp_path) == ServerConfig()
    lines = text.splitlines()
    keys = [index for index, line in enumerate(lines) if line and not line.startswith("#")]
    assert keys
    assert all(lines[index - 1].startswith("#") for index in keys)


def test_what_was_changed_comes_back():
    config = parse(
        {"name": 'a "b" \\ ü/log', "advertise": "pool.example", "serving": {"workers": 0, "stall_seconds": 5}},
        "the test",
    )
    assert parse(tomllib.loads(config.to_toml()), "the test") == config


def test_a_missing_line_has_its_default(tmp_path):
    (tmp_path / CONFIG_FILE).write_text('admission = "manual"\n[serving]\nslots = 3\n')
    config = load(tmp_path)
    assert (config.admission, config.serving.slots, config.serving.workers) == ("manual", 3, 1)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense = 1", "nonsense"),
        ("[serving]\nworker = 1", "serving.worker"),
        ("[serving]\nworkers = -1", "serving.workers"),
        ("[serving]\nworkers = '2'", "serving.workers"),
        ("[serving]\nworkers = true", "serving.workers"),
        ("[serving]\nobject_store_mib = 1", "serving.object_store_mib"),
        ("admission = 'perhaps'", "admission"),
        ("listen = '8470'", "listen"),
        ("listen = 'host:99999'", "listen"),
        ("listen = 'http://host:1'", "listen"),
        ("advertise = 'two words'", "advertise"),
        ("name = ''", "name"),
        ("name = ", "TOML"),
        ("drain_seconds = -1.0", "drain_seconds"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, named):
    (tmp_path / CONFIG_FILE).write_text(text)
    error = reason_of(lambda: load(tmp_path))
    assert isinstance(error, InvalidInput)
    assert error.reason == "CONFIG_INVALID"
    assert named in error.message
    assert CONFIG_FILE in error.message


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("lissen = '127.0.0.1:1'", "listen"),
        ("[serving]\nworker = 1", "serving.workers"),
        ("workers = 1", "serving.workers"),
        ("[servng]\nworkers = 1", "serving"),
        ("[metrics]\nlissten = '9464'", "metrics.listen"),
        ("[quotas]\nform = 'text'", "logs.form"),
    ],
)
def test_a_setting_that_there_is_not_comes_with_the_nearest(tmp_path, text, nearest):
    (tmp_path / CONFIG_FILE).write_text(text)
    assert f"there is no such setting; the nearest is {nearest}; " in reason_of(lambda: load(tmp_path)).diagnostics()


def test_a_setting_like_no_other_is_refused_without_a_guess(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("xyzzy = 1")
    assert "xyzzy: there is no such setting; mend" in reason_of(lambda: load(tmp_path)).diagnostics()


def test_a_byte_order_mark_of_an_editor_is_passed_over(tmp_path):
    (tmp_path / CONFIG_FILE).write_bytes(b"\xef\xbb\xbfname = 'a/log'\n")
    assert load(tmp_path).name == "a/log"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"name = 'a/log'\nquorum == 1\n", "line 2, column 9"),
        (b"name = 'a/log'\n[serving\n", "line 2, column 9"),
        (b"\xff\xfe", "line 1, column 1"),
        (b"name = 'a/log'\n# \xe9\n", "line 2, column 3"),
    ],
)
def test_what_is_no_toml_is_named_by_line_and_column(tmp_path, raw, place):
    (tmp_path / CONFIG_FILE).write_bytes(raw)
    error = reason_of(lambda: load(tmp_path))
    assert error.reason == "CONFIG_INVALID"
    assert place in error.message


def test_a_folder_without_settings_is_no_pool(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        error = reason_of(lambda folder=folder: load(folder))
        assert isinstance(error, NotFound)
        assert error.reason == "POOL_UNKNOWN"


@pytest.mark.parametrize("text", ["127.0.0.1:0", "pool.example:8470", "[::1]:8470", "localhost:65535"])
def test_addresses_are_read_and_written(text):
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":1", "host", "host:", "host:1x", "host:65536", "::1:8470", "a b:1", "host:-1"])
def test_what_is_no_address_is_refused(text):
    assert reason_of(lambda: Address.parse(text)).reason == "OPTION_INVALID"


@pytest.mark.parametrize(
    ("listen", "advertise", "clients"),
    [
        ("127.0.0.1:0", "", "127.0.0.1:5000"),
        ("0.0.0.0:0", "", "machine:5000"),
        ("[::]:0", "", "machine:5000"),
        ("0.0.0.0:0", "pool.example", "pool.example:5000"),
        ("0.0.0.0:0", "pool.example:443", "pool.example:443"),
    ],
)
def test_clients_are_told_an_address_that_they_can_reach(listen, advertise, clients):
    config = parse({"listen": listen, "advertise": advertise}, "the test")
    bound = Address(Address.parse(listen).host, 5000)
    assert str(config.advertised(bound, "machine")) == clients


def test_serving_gets_its_units():
    serving = parse({"serving": {"object_store_mib": 100, "temp_dir": "short"}}, "the test").serving.config()
    assert serving.object_store_bytes == 100 << 20
    assert str(serving.temp_dir) == "short"
    assert ServerConfig().serving.config().temp_dir is None


MINE = """# my own words
name = "pool.test/log"
hosts = ["old.example"]  # by hand

[quotas]
open_calls = 7
"""


def test_a_change_leaves_what_people_wrote():
    text = edited(MINE, {"hosts": ["a.example", "::1"], "advertise": "pool.example"}, "the file")
    settings = parse(tomllib.loads(text), "the file")
    assert (settings.hosts, settings.advertise, settings.quotas.open_calls) == (["a.example", "::1"], "pool.example", 7)
    assert "# my own words" in text
    assert "old.example" not in text


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ('hosts = [\n  "old.example",\n]\n', {"hosts": []}, "OPTION_INVALID"),
        (MINE, {"hosts": ["two words"]}, "CONFIG_INVALID"),
        (MINE, {"advertise": "pool.example:port"}, "CONFIG_INVALID"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(text, values, reason):
    assert reason_of(lambda: edited(text, values, "the file")).reason == reason
