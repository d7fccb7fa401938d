"""Lines of the log: one an event, in two forms, whatever an event holds."""

import io
import json
import logging
import sys

import pytest

from genepool_console import terminal
from genepool_console.log_lines import REQUEST, Escaping, JsonLines, TextLines, facts, form_of
from genepool_protocol.wire.errors import InvalidInput
from tests.unit.console.test_terminal import EVIL, harmless


@pytest.fixture
def logger():
    logger = logging.getLogger("genepool.test-of-lines")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


def written(logger, formatter) -> io.StringIO:
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)  # noqa: TID251
    handler.setFormatter(formatter)
    handler.addFilter(Escaping())
    logger.handlers[:] = [handler]
    return sink


def test_json_is_one_object_a_line_whatever_the_event_holds(logger):
    sink = written(logger, JsonLines())
    logger.info("upload of %s", EVIL, extra=facts(caller=EVIL, bytes=7))
    logger.error("it failed", exc_info=ValueError(EVIL))
    lines = sink.getvalue().splitlines()
    assert len(lines) == 2
    assert all(" " <= one <= "~" for line in lines for one in line)
    first, second = map(json.loads, lines)
    assert (first["level"], first["logger"], first["bytes"]) == ("INFO", logger.name, 7)
    assert first["event"].isprintable()
    assert first["caller"].isprintable()
    assert "[link=https://x]here" in second["exception"][-1]
    assert all(line.isprintable() for line in second["exception"])


def test_text_shows_members_behind_the_sentence(logger):
    sink = written(logger, TextLines())
    logger.info("contribution", extra=facts(caller=EVIL, bytes=7))
    harmless(sink.getvalue(), 1)
    assert "INFO genepool.test-of-lines: contribution caller=" in sink.getvalue()
    assert sink.getvalue().endswith(" bytes=7\n")


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_a_line_says_which_request_it_belongs_to(logger, formatter):
    sink = written(logger, formatter)
    token = REQUEST.set("3f2a3f2a3f2a3f2a")
    try:
        logger.info("inside")
    finally:
        REQUEST.reset(token)
    logger.info("outside")
    assert ["3f2a3f2a3f2a3f2a" in line for line in sink.getvalue().splitlines()] == [True, False]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("form", "stream", "kind"),
    [
        ("auto", Terminal, TextLines),
        ("auto", io.StringIO, JsonLines),
        ("text", io.StringIO, TextLines),
        ("json", Terminal, JsonLines),
    ],
)
def test_the_form_is_text_on_a_terminal_and_json_elsewhere_unless_it_is_forced(monkeypatch, form, stream, kind):
    monkeypatch.setattr(sys, "stderr", stream())
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        terminal.log_to_stderr(form)
        (handler,) = root.handlers
        assert isinstance(handler.formatter, kind)
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_a_form_that_there_is_not_is_refused():
    assert form_of("json") == "json"
    with pytest.raises(InvalidInput) as caught:
        form_of("loud")
    assert caught.value.reason == "OPTION_INVALID"
