"""Who plays what: scenario files and options, and where their errors are."""

from typing import get_args

import pytest

from genepool_client.simulate.roles.script import ROLES, Plays, cast_roles, parse_play, read_script
from genepool_client.site.contribution import STAGES
from genepool_protocol.wire.errors import InvalidInput

GOOD = """
[[site]]
name = "digits"
plays = "crash"
at = "every"

[[site]]
place = 0
plays = "straggler"
slower = 4
"""


def written(tmp_path, text):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return path


def refused(call, *arguments) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        call(*arguments)
    return caught.value


def test_the_list_of_roles_and_their_members_is_one():
    assert set(ROLES) == set(get_args(Plays))


def test_a_scenario_file_says_who_plays_what(tmp_path):
    roles = read_script(written(tmp_path, GOOD))
    cast = cast_roles(roles, ["animals", "clothing", "digits"])
    assert {place: str(role) for place, role in cast.items()} == {
        2: f"crash at {', '.join(STAGES)}",
        0: "straggler (4 times slower)",
    }
    assert cast[2].stages == tuple(STAGES)


@pytest.mark.parametrize(
    ("before", "after", "place", "told"),
    [
        ('plays = "crash"', "plays = crash", "line 4, column 9", "Invalid value"),
        ('at = "every"', 'at = "lunch"', "line 5, column 1", "site.0.at"),
        ("slower = 4", "  slover = 4", "line 10, column 3", "the nearest is slower"),
        ("slower = 4", 'slower = "4"', "line 10, column 1", "site.1.slower"),
        ("slower = 4", "slower = 0.5", "line 10, column 1", "site.1.slower"),
        ("slower = 4", "seconds = 4", "line 7, column 1", "the role straggler takes no seconds"),
        ("place = 0\n", "", "line 7, column 1", "by name or by place"),
        ('plays = "straggler"', "", "line 7, column 1", "site.1.plays"),
        ("\n[[site]]\nname", "title = 1\n[[site]]\nname", "line 1, column 1", "title"),
    ],
)
def test_an_error_in_a_scenario_file_comes_with_line_column_and_member(tmp_path, before, after, place, told):
    exc = refused(read_script, written(tmp_path, GOOD.replace(before, after, 1)))
    assert exc.reason == "CONFIG_INVALID"
    assert place in exc.message
    assert told in exc.message


def test_an_option_says_the_same():
    assert str(parse_play("digits=crash,at=condense,back=false")) == "crash at condense, never back"
    assert str(parse_play("3=outage,seconds=30")) == "outage of 30 s at submit"
    assert parse_play("3=poison").place == 3


@pytest.mark.parametrize(
    "text", ["", "3", "3=", "3=lunch", "3=crash,at", "3=crash,seconds=2", "3=leak,at=read", "=leak"]
)
def test_an_option_that_says_no_role_is_refused(text):
    if text == "=leak":
        assert refused(cast_roles, [parse_play(text)], ["a"]).reason == "OPTION_INVALID"
    else:
        assert refused(parse_play, text).reason == "OPTION_INVALID"


@pytest.mark.parametrize("plays", [["3=leak"], ["zebra=leak"], ["a=leak", "0=poison"]])
def test_a_role_of_nobody_and_two_roles_of_one_site_are_refused(plays):
    assert refused(cast_roles, list(map(parse_play, plays)), ["a", "b"]).reason == "OPTION_INVALID"


def test_who_plays_honest_is_honest():
    assert cast_roles([parse_play("0=honest")], ["a"]) == {}
