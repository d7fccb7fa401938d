"""The log of `genepool site run`: Flower's lines, its web server's and ours go one way, escaped, in one form."""

import logging
import os
from typing import Final

from genepool_console import terminal
from genepool_console.log_lines import Form, form_of
from genepool_protocol.machine import variables

FORM: Final = variables.LOG_FORM.name
"""Variable by which the processes that a SuperNode starts learn the form that was asked for."""


def begin(form: Form) -> None:
    """Write the log to standard error from now on; processes that are started later do the same.

    Args:
        form: see `log_lines`.
    """
    from uvicorn.config import LOGGING_CONFIG

    os.environ[FORM] = form
    terminal.log_to_stderr(form)
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each time that it asks for an invitation
    for settings in LOGGING_CONFIG["loggers"].values():
        settings.update(handlers=[], propagate=True, level="WARNING")


def begin_as_told() -> None:
    """The same in a process that a SuperNode started; nothing in one that somebody else did."""
    form = os.environ.get(FORM)
    if form is not None:
        begin(form_of(form))
