"""Runs the `console` and `python` blocks of a page, in order, and compares what the page shows with what comes out.

A line that starts with `$ ` is a command (`\\` at its end continues it), the lines below it are its output. What
differs from run to run (digests, dates, measured numbers) is compared by its form alone, and `...` stands for anything.
A command with ` &` at its end goes on in the background until the shell is closed; its output is its first line.
"""

import doctest
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final, NamedTuple

from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.typing import Evaluator

ROOT: Final = Path(__file__).parents[2]
IMAGES: Final = ROOT / "docs/tutorials/index.md"
"""The page that unpacks the images that all others use."""
SIMULATION: Final = ROOT / "docs/tutorials/researcher.md"
"""The page that plays a whole simulation; tests/e2e plays it, and looks at what it leaves."""
STORY: Final = (
    IMAGES,
    *(
        ROOT / page
        for page in (
            "docs/tutorials/operator.md",
            "docs/tutorials/site.md",
            "docs/tutorials/consumer.md",
            "README.md",
            "docs/tutorials/auditor.md",
            "docs/how-to/withdraw.md",
        )
    ),
    SIMULATION,
)
"""Pages that follow one another in one folder: each uses what the ones before it made."""

_PORT: Final = "8470"
_WIDTH: Final = 118
_PROGRESS: Final = re.compile(r"^[a-z -]+: \d+ of \d+.*\n", re.MULTILINE)
_SERVER_LOG: Final = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (INFO|WARNING) .*\n", re.MULTILINE)
_VARYING: Final = (
    (re.compile(r"\b([0-9a-f]{4} ){7}[0-9a-f]{4}\b"), "FINGERPRINT"),
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "DIGEST"),
    (re.compile(r"[A-Za-z0-9+/]{43}="), "ROOT"),
    (re.compile(r"\+DIGEST\+[A-Za-z0-9+/]{43,44}"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?( UTC|Z)?"), "TIME"),
    (re.compile(r"-?\b\d+\.\d+\b"), "NUMBER"),
    (re.compile(r"(?<=entry )\d+|(?<=seconds: )\d+"), "NUMBER"),
)


class Step(NamedTuple):
    """One command of a page, with what the page shows below it."""

    command: str
    shown: str


def steps(block: str) -> list[Step]:
    """The commands of a `console` block."""
    parts: list[Step] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = re.sub(r"\\\n", "\0", part).partition("\n")
        parts.append(Step(command.replace("\0", "\\\n"), shown.rstrip("\n") + "\n" if shown.strip() else ""))
    return parts


def alike(shown: str, actual: str) -> bool:
    """Whether a page may show this for that output."""
    for pattern, name in _VARYING:
        shown, actual = pattern.sub(name, shown), pattern.sub(name, actual)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown, actual, flags)


class Shell:
    """A folder in which commands are run, with a genepool of its own; close it to end what still runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(_free_pair())
        self._background: list[subprocess.Popen[str]] = []
        self._environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GENEPOOL_HOME": str(folder / ".config"),
            "GENEPOOL_CACHE": str(folder / ".cache"),
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONWARNINGS": "ignore",
        }

    def run(self, command: str) -> str:
        """What a command prints, without progress; a page's port is a free one here, and back again in the output."""
        command = command.replace(_PORT, self.port)
        output = self._start(command) if command.endswith(" &") else self._finish(["bash", "-c", command])
        output = output.replace(self.port, _PORT).replace(f"{self.folder}/", "/home/me/")
        return "".join(f"{line.rstrip()}\n" for line in _SERVER_LOG.sub("", _PROGRESS.sub("", output)).splitlines())

    def python(self, code: str) -> str:
        """What a snippet prints."""
        return self._finish([sys.executable, "-c", code])

    def close(self) -> None:
        """End what was started in the background, and its children."""
        for process in self._background:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            if process.stdout:
                process.stdout.close()

    def _finish(self, command: list[str]) -> str:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self._environment,
            timeout=1500,
            check=False,
        )
        return ended.stdout if not ended.returncode or "error (" in ended.stdout else f"{ended.stdout}\nFAILED\n"

    def _start(self, command: str) -> str:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command.removesuffix(' &')}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=self._environment,
            start_new_session=True,
        )
        self._background.append(process)
        assert process.stdout is not None
        return process.stdout.readline()


def _free_pair() -> int:
    """A free port whose successor is free, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def document(page: Path, shell: Shell, console: Evaluator | None = None) -> Document:
    """A page, ready for its examples to be evaluated in a shell. `<!--- skip: next -->` leaves the next block out."""
    parsers = [
        SkipParser(),
        CodeBlockParser("console", console or _compare_console),
        CodeBlockParser("python", _run_python),
    ]
    parsed = Document.parse(str(page), *parsers)
    parsed.namespace["shell"] = shell
    return parsed


def rewritten(page: Path, shell: Shell) -> str:
    """The page with its `console` blocks as they come out; what the page shows stays where it is alike."""
    text = page.read_text(encoding="utf-8")
    printed: dict[str, str] = {}
    for example in document(page, shell, lambda example: printed.update({example.parsed: _printed(example)})):
        example.evaluate()
    for block, output in printed.items():
        text = text.replace(f"```console\n{block}```", f"```console\n{output}```", 1)
    return text


def _compare_console(example: Example) -> str | None:
    shell: Shell = example.namespace["shell"]
    for step in steps(example.parsed):
        actual = shell.run(step.command)
        if not alike(step.shown, actual):
            return f"$ {step.command}\n--- the page shows\n{step.shown}--- it prints\n{actual}"
    return None


def _printed(example: Example) -> str:
    shell: Shell = example.namespace["shell"]
    runs = [(step, shell.run(step.command)) for step in steps(example.parsed)]
    return "".join(
        f"$ {step.command}\n{step.shown if alike(step.shown, actual) else _folded(actual)}" for step, actual in runs
    )


def _folded(output: str) -> str:
    """The output in lines that fit a page; blanks are compared as one."""
    fold = textwrap.TextWrapper(_WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "".join(f"{part}\n" for line in output.splitlines() for part in fold.wrap(line) or [""])


def _run_python(example: Example) -> str | None:
    output = example.namespace["shell"].python(example.parsed)
    return output if "FAILED" in output else None
