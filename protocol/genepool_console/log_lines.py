"""Log lines, one an event: text for a terminal, JSON for whatever collects them. Records to lines; nothing is written.

An event has a sentence and, as `extra=facts(...)`, members that a machine reads. Both forms pass `wire.text.shown`, so
that no line moves the cursor, hides, or looks like two; only a traceback keeps its lines, in text.
"""

import json
import logging
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, cast, get_args

from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.text import shown

Form = Literal["auto", "text", "json"]
"""How lines look; auto: text on a terminal, else JSON."""

REQUEST: Final[ContextVar[str]] = ContextVar("genepool_request", default="")
"""Id of the request that the running task answers, which stands in its lines; empty outside of one."""

_FACTS: Final = "genepool_facts"


def form_of(text: str) -> Form:
    """The form that somebody asked for.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    for form in get_args(Form):
        if text == form:
            return cast("Form", form)
    raise InvalidInput("OPTION_INVALID", f"log lines have no form {text[:80]!r}", "write auto, text or json")


def facts(**members: str | float | bool) -> dict[str, dict[str, str | float | bool]]:
    """What goes into `extra` of a logging call: the members of the event."""
    return {_FACTS: members}


class Escaping(logging.Filter):
    """Makes what a handler writes to a terminal printable: messages are one line each, tracebacks keep their lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; nothing is left out."""
        record.msg, record.args = shown(record.getMessage()), ()
        if record.exc_info and record.exc_info[1]:
            record.exc_text = formatted(record.exc_info[1])
        if record.stack_info:
            record.stack_info = lines_shown(record.stack_info)
        return True


class TextLines(logging.Formatter):
    """Lines for eyes, with the time in UTC; the handler needs `Escaping`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it
        """The first line of an event."""
        members = "".join(f" {name}={shown(value)}" for name, value in _members(record).items())
        return super().formatMessage(record) + members


class JsonLines(logging.Formatter):
    """Lines for machines: one JSON object an event, whatever it holds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        value: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": shown(record.getMessage()),
            **{name: shown(item) if isinstance(item, str) else item for name, item in _members(record).items()},
        }
        if record.exc_info and record.exc_info[1]:
            value["exception"] = formatted(record.exc_info[1]).split("\n")
        return json_text(value)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that a terminal shows and does not obey."""
    # what is not ASCII is escaped by json, and only inside of strings DEL can be left
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def formatted(exc: BaseException) -> str:
    """A traceback, printable."""
    return lines_shown("".join(traceback.format_exception(exc)).rstrip("\n"))


def lines_shown(text: str) -> str:
    """Several lines, each printable."""
    return "\n".join(map(shown, text.split("\n")))


def _members(record: logging.LogRecord) -> Mapping[str, str | float | bool]:
    members: Mapping[str, str | float | bool] = getattr(record, _FACTS, {})
    request = REQUEST.get()
    return {"request": request, **members} if request else members
