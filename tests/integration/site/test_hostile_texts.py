"""`genepool site` beside a pool whose notes want to write on the terminal."""

import sys

import pytest

from genepool_client.commands import cli
from genepool_client.transport.channel import Connection
from genepool_protocol.v1 import contribute_pb2
from tests.integration.site.world import condensed, submit

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b2K\r\nstate: ACTIVE\u202e\u200b[b]x[/b]"


@pytest.fixture
def genepool(monkeypatch, capsys):
    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["genepool", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    return call


def harmless(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n"))
    assert "state: ACTIVE" not in [line for line in text.split("\n") if "pool_state" not in line]


def test_a_note_that_is_not_printable_is_refused_and_shown(world, genepool, monkeypatch):
    site = world.site("noted")
    condensed(site, 1)
    submit(site)
    true = Connection.call

    def forged(self, method, request, **options):
        answer = true(self, method, request, **options)
        if isinstance(answer, contribute_pb2.GetContributionResponse):
            answer.note = f"fine{EVIL}"
        return answer

    monkeypatch.setattr(Connection, "call", forged)
    code, said = genepool("site", "status", site.path)
    assert code == 0
    assert "the note of the pool is not printable" in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert said.split("\n").count("state: ACTIVE") <= 1  # the site's own state


def test_a_reason_that_is_not_printable_is_not_signed(world, genepool):
    site = world.site("reasoned")
    condensed(site, 1)
    done = submit(site)
    code, said = genepool("site", "withdraw", site.path, done.contribution_id, "--reason", f"because{EVIL}")
    assert (code, "error (FILE_MALFORMED)" in said) == (2, True)
    harmless(said)
    assert world.contributions()[done.contribution_id].state != "WITHDRAWN"
