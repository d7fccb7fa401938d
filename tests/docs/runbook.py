"""Plays the commands of deploy/runbook.md in one process, against a pool that is served from a thread.

Ours are run by their own parsers, without a process each; `systemctl` starts and ends the server; what else a line may
say is listed in `Player`. Anything else is refused, so no command of the page is left out unseen.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

from genepool_client.commands.cli import app as client
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.commands.cli import app as server
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.sqlite import Sqlite
from tests.docs.transcripts import ROOT
from tests.support import stores
from tests.support.server import serving

PAGE: Final = ROOT / "deploy" / "runbook.md"
_PROGRAMS: Final[dict[str, typer.Typer]] = {"genepool": client, "genepool-server": server}
_REFUSED: Final = re.compile(r"# refused: ([A-Z_]+)$")


class Line(NamedTuple):
    """One command of the page.

    Attributes:
        words: of it.
        refused: the reason for which it is refused; empty: it succeeds.
    """

    words: list[str]
    refused: str


def procedures() -> dict[str, list[Line]]:
    """Heading -> its commands, in the page's order."""
    found: dict[str, list[Line]] = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        found[part.partition("\n")[0]] = [_line(text) for block in blocks for text in block.splitlines() if text]
    return found


def _line(text: str) -> Line:
    refused = _REFUSED.search(text)
    return Line(shlex.split(text, comments=True), refused[1] if refused else "")


class Player:
    """A machine on which the runbook is followed: a folder, and a service that can be started.

    Args:
        folder: where commands run.
        stand_ins: words of the page -> what stands for them here.
    """

    def __init__(self, folder: Path, stand_ins: dict[str, str]) -> None:
        self.folder, self._stand_ins = folder, stand_ins
        self._service = ExitStack()
        self.serves = False
        self._others: dict[str, Callable[[list[str]], Any]] = {
            "systemctl": self._systemctl,
            "mv": lambda words: shutil.move(*words),
            "journalctl": lambda _words: None,  # the service manager's own
            "/opt/genepool/bin/pip": self._upgraded,
        }

    def play(self, line: Line, contribution: str) -> Any:
        """Run one command; answers what it prints with --json, where it is ours.

        Args:
            line: of the page.
            contribution: what ID stands for.

        Raises:
            AssertionError: it ends otherwise than the page says.
        """
        program, *words = [self._stand_ins.get(word, word) for word in line.words]
        words = [contribution if word == "ID" else word for word in words]
        with contextlib.chdir(self.folder):
            if program in self._others:
                return self._others[program](words)
            try:
                printed = _run(_PROGRAMS[program], program, words)
            except GenepoolError as exc:
                assert exc.reason == line.refused, f"{line.words}: {exc.reason}: {exc.diagnostics()}"
                return None
        assert not line.refused, f"{line.words} was not refused"
        return json.loads(printed)

    def _systemctl(self, words: list[str]) -> None:
        verb, unit = words
        assert unit == "genepool-pool"
        assert self.serves is (verb == "stop"), words
        if verb == "start":
            self._service.enter_context(serving(self.folder / "pool"))
        else:
            self._service.close()
        self.serves = verb == "start"

    def _upgraded(self, words: list[str]) -> None:
        """This is the newer software: until now it was the older one, whose tables the ledger had."""
        assert words == ["install", "--upgrade", "genepool[server]"]
        database = Sqlite(self.folder / "pool" / "ledger.sqlite")
        engine = database.writer()
        with engine.begin() as tx:
            stores.make_older(tx, database)
        engine.dispose()
        with contextlib.suppress(GenepoolError):
            Ledger.look(database).close()
            raise AssertionError("the ledger is not an older one")

    def close(self) -> None:
        """End the service."""
        self._service.close()


@contextlib.contextmanager
def player(folder: Path, stand_ins: dict[str, str]) -> Iterator[Player]:
    """One that is ended after the block."""
    playing = Player(folder, stand_ins)
    try:
        yield playing
    finally:
        playing.close()


def _run(app: typer.Typer, name: str, words: list[str]) -> str:
    before = dict(os.environ)
    with contextlib.redirect_stdout(StringIO()) as printed, contextlib.redirect_stderr(StringIO()):
        code = app([*words, "--json"], prog_name=name, standalone_mode=False)
    os.environ.clear()
    os.environ.update(before)
    assert not code, f"{name} {words} ended with {code}: {printed.getvalue()}"
    return printed.getvalue()
