"""The commands of README and tutorials print what the pages show."""

import pytest

from tests.docs.transcripts import ROOT, SIMULATION, STORY, Shell, alike, document, steps


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    shell = Shell(tmp_path_factory.mktemp("story"))
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in STORY if page != SIMULATION], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_shows_what_its_commands_print(page, shell):
    for example in document(page, shell):
        example.evaluate()


def test_a_block_is_commands_with_the_output_below_them():
    block = "$ genepool a \\\n    --b\nfirst\nsecond\n$ genepool c\n$ genepool d\nthird\n"
    assert steps(block) == [
        ("genepool a \\\n    --b", "first\nsecond\n"),
        ("genepool c", ""),
        ("genepool d", "third\n"),
    ]


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ("contribution dd0ee52f82952c6b is ACTIVE\n", "contribution 9832ca43b7271e4f is ACTIVE\n"),
        (
            "fingerprint: 3c28 926c 4050 c25d 3878 e8e7 fcd6 9c5b\n",
            "fingerprint: 0c28 926c 4050 c25d 3878 e8e7 fcd6 9c5b\n",
        ),
        ("0.700 of clinic, 2026-11-30 11:23 UTC\n", "0.650   of clinic, 2027-01-01 00:00 UTC\n"),
        ("one\n...\nfour\n", "one\ntwo\nthree\nfour\n"),
    ],
)
def test_what_varies_is_compared_by_its_form(shown, actual):
    assert alike(shown, actual)


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ("contribution dd0ee52f82952c6b is ACTIVE\n", "contribution dd0ee52f82952c6b is REJECTED\n"),
        ("825,104 bytes left this site\n", "825,105 bytes left this site\n"),
        ("verified\n", "verified\nFAILED\n"),
        ("", "error (POOL_DOWN): no\n"),
    ],
)
def test_what_does_not_vary_is_compared_to_the_letter(shown, actual):
    assert not alike(shown, actual)
