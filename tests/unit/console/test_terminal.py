"""How a command line ends: exit codes, sentences on standard error, answers on standard output."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rich.console
import typer

import genepool_protocol
from genepool_console import terminal
from genepool_protocol.wire.errors import REASONS, InvalidInput, error

APP = """
import sys, time
import typer
from genepool_console import terminal
from genepool_protocol.wire.errors import Refused

app = typer.Typer(context_settings=terminal.CONTEXT)

@app.command()
def wait() -> None:
    print("waiting", flush=True)
    time.sleep(60)

@app.command()
def lines() -> None:
    for _ in range(100_000):
        print("line")

terminal.run(app, "tool")
"""


def outcome(monkeypatch, command, *argv) -> int:
    app = typer.Typer(context_settings=terminal.CONTEXT)
    app.command("do")(command)
    app.command("other")(lambda: None)
    monkeypatch.setattr(sys, "argv", ["tool", *argv])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            terminal.run(app, "tool")
    finally:
        signal.signal(signal.SIGTERM, before)
    return caught.value.code


def raising(exc):
    def command() -> None:
        raise exc

    return command


@pytest.mark.parametrize(
    "reason", ["OPTION_INVALID", "FILE_MISSING", "SIGNATURE_INVALID", "BUSY", "OFFSET", "INTERNAL"]
)
def test_an_error_of_ours_ends_with_its_classs_exit_code(monkeypatch, capsys, reason):
    code = outcome(monkeypatch, raising(error(reason, "it went wrong", "mend it")), "do")
    out, err = capsys.readouterr()
    assert (code, out) == (REASONS[reason].kind.exit_code, "")
    assert err == f"error ({reason}): it went wrong; mend it\n"


def test_with_json_the_error_is_one_value_on_standard_output(monkeypatch, capsys):
    def command(*, as_json: terminal.JsonOption = False) -> None:
        assert as_json
        raise InvalidInput("NAME_INVALID", "bad name", "choose another")

    assert outcome(monkeypatch, command, "do", "--json") == 2
    assert json.loads(capsys.readouterr().out) == {
        "error": "NAME_INVALID",
        "message": "bad name",
        "fix": "choose another",
    }


def test_an_error_of_a_pool_names_its_request(monkeypatch, capsys):
    refusal = error("BUSY", "full", "wait", request="3f2a3f2a3f2a3f2a")

    def command(*, as_json: terminal.JsonOption = False) -> None:
        raise refusal

    outcome(monkeypatch, command, "do", "--json")
    out, err = capsys.readouterr()
    assert json.loads(out)["request"] == "3f2a3f2a3f2a3f2a"
    assert err == "error (BUSY): full; wait (request 3f2a3f2a3f2a3f2a)\n"


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_command_may_choose_its_exit_code(monkeypatch, code):
    assert outcome(monkeypatch, raising(typer.Exit(code)), "do") == code


def test_success_is_zero(monkeypatch):
    assert outcome(monkeypatch, lambda: None, "do") == 0


@pytest.mark.parametrize("exc", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption_is_130_and_says_so(monkeypatch, capsys, exc):
    assert outcome(monkeypatch, raising(exc), "do") == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [("do", "--no-such-option"), ("no-such-command",)])
def test_wrong_usage_is_2(monkeypatch, capsys, argv):
    assert outcome(monkeypatch, lambda: None, *argv) == 2
    assert "o such" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "reason"), [(28, "DISK_FULL"), (122, "DISK_FULL"), (5, "DISK_FAILED"), (30, "DISK_FAILED")]
)
def test_a_disk_that_cannot_take_it_is_an_error_of_ours(monkeypatch, capsys, number, reason):
    assert outcome(monkeypatch, raising(OSError(number, os.strerror(number), "/data/file")), "do") == 7
    err = capsys.readouterr().err
    assert err.startswith(f"error ({reason})")
    assert "/data/file" in err


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        outcome(monkeypatch, raising(ZeroDivisionError()), "do")


def test_h_is_help(monkeypatch, capsys):
    assert outcome(monkeypatch, lambda: None, "do", "-h") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_with_130(tmp_path, number):
    (tmp_path / "tool.py").write_text(APP)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        process = subprocess.Popen(
            [sys.executable, tmp_path / "tool.py", "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.startswith("interrupted")


def test_a_reader_that_hangs_up_gets_no_traceback(tmp_path):
    (tmp_path / "tool.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "tool.py", "lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_an_answer_is_json_or_lines_or_a_table(capsys):
    terminal.answer({"a": 1, "b": [2]}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 1, "b": [2]}
    terminal.answer({"site": "a", "file": "[b]x[/b]"}, as_json=False)
    assert capsys.readouterr().out == "site: a\nfile: [b]x[/b]\n"
    rows = [{"site": "north", "log_index": 3}]
    terminal.answer(rows, as_json=False, text=terminal.table(rows, ["site", "log_index"]))
    out = capsys.readouterr().out
    assert out.split() == ["site", "log", "index", "north", "3"]


def test_progress_without_a_terminal_is_a_few_lines(capsys):
    with terminal.progress("work") as report:
        for done in range(101):
            report(done, 100, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work: 0 of 100"
    assert lines[-1] == "work: 100 of 100"
    assert len(lines) == 11


# --- what others wrote ---

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b2K\r\nstate: ACTIVE\u202e\u200b\x7f[link=https://x]here[/link] :skull:"


def harmless(out: str, lines: int) -> None:
    """Nothing in it moves a cursor, and there are only our own lines."""
    assert all(line.isprintable() for line in out.split("\n"))
    assert len(out.rstrip("\n").split("\n")) == lines
    assert "state: ACTIVE" not in out.split("\n")
    assert "[link=https://x]here[/link] :skull:" in out.replace("\n", "")


def test_an_answer_cannot_be_forged_by_what_it_holds(capsys):
    terminal.answer({"state": "REJECTED", "note": EVIL}, as_json=False)
    harmless(capsys.readouterr().out, 2)
    terminal.answer({}, as_json=False, text=[f"note: {EVIL}", "next: wait"])
    harmless(capsys.readouterr().out, 2)
    terminal.answer({}, as_json=False, text=EVIL)
    harmless(capsys.readouterr().out, 1)
    terminal.announce({}, as_json=False, text=EVIL)
    harmless(capsys.readouterr().out, 1)
    terminal.say(EVIL)
    harmless(capsys.readouterr().err, 1)


def test_a_table_reads_no_mark_up_and_keeps_its_rows(capsys):
    terminal.answer([], as_json=False, text=terminal.table([{"site": EVIL}, {"site": "north"}], ["site"]))
    harmless(capsys.readouterr().out, 3)
    terminal.answer([], as_json=False, text=terminal.Rows([EVIL], [["x"]], "title"))
    harmless(capsys.readouterr().out, 3)


def test_json_holds_it_escaped_and_whole(capsys):
    terminal.answer({"note": EVIL}, as_json=True)
    out = capsys.readouterr().out
    assert all(" " <= one <= "~" or one == "\n" for one in out)
    assert json.loads(out) == {"note": EVIL}


def test_an_error_is_one_line(monkeypatch, capsys):
    assert outcome(monkeypatch, raising(error("BUSY", EVIL, EVIL)), "do") == 5
    harmless(capsys.readouterr().err, 1)
    assert outcome(monkeypatch, raising(error("BUSY", EVIL, EVIL)), "do", "--json") == 2  # the option is not known
    assert "\x1b" not in capsys.readouterr().out


def test_a_wrong_argument_is_shown_and_not_obeyed(monkeypatch, capsys):
    assert outcome(monkeypatch, lambda: None, f"no-{EVIL}") == 2
    out, err = capsys.readouterr()
    assert not set("\x1b\x9b\u202e\r\x07") & set(out + err)


def test_progress_without_a_terminal_is_printable(capsys):
    with terminal.progress(f"work {EVIL}") as report:
        report(1, 1, EVIL)
    harmless(capsys.readouterr().err, 1)


def test_progress_on_a_terminal_reads_no_mark_up_and_no_foreign_sequence(monkeypatch):
    out = io.StringIO()
    console = rich.console.Console  # noqa: TID251
    monkeypatch.setattr(terminal, "Console", lambda **_: console(file=out, force_terminal=True, width=300))
    with terminal.progress("work") as report:
        report(1, 1, EVIL)
    shown = out.getvalue()
    assert "[link=https://x]here[/link]" in shown
    assert not [bad for bad in ("\x1b]52", "\x1b]8", "\x07", "\x9b", "\u202e", "\nstate") if bad in shown]


DEFECT = """
import logging, typer
from genepool_console import terminal

app = typer.Typer(context_settings=terminal.CONTEXT, pretty_exceptions_enable=False)
EVIL = {evil!r}

@app.command()
def defect() -> None:
    raise ZeroDivisionError(EVIL)

@app.command()
def log() -> None:
    terminal.log_to_stderr()
    logging.getLogger("x").warning("upload of %s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("x").exception("it failed")

terminal.run(app, "tool")
"""


@pytest.mark.parametrize("verb", ["defect", "log"])
def test_tracebacks_and_logs_are_printable(tmp_path, verb):
    (tmp_path / "tool.py").write_text(DEFECT.format(evil=EVIL))
    done = subprocess.run([sys.executable, tmp_path / "tool.py", verb], capture_output=True, check=False, timeout=60)
    err = done.stderr.decode()
    assert "Traceback" in err
    assert "[link=https://x]" in err
    assert all(line.isprintable() for line in err.split("\n"))
    assert (done.returncode == 0) == (verb == "log")
    logged = [line for line in err.split("\n") if "upload of" in line]
    assert len(logged) == (verb == "log")
    assert all("\\nstate: ACTIVE" in line for line in logged)


def test_nothing_prints_past_the_terminal_module():
    root = Path(__file__).parents[3]
    code = "import logging\nimport typer\nfrom rich.console import Console\n"
    code += "typer.echo(1)\nlogging.StreamHandler()\nprint(1)\n"
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251,T201", "--output-format", "concise"]
    command += ["--stdin-filename", "client/x.py", "-"]
    done = subprocess.run(command, input=code, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.count("TID251") == 3
    assert done.stdout.count("T201") == 1


def rows(title: str, *cells) -> terminal.Rows:
    return terminal.Rows(["site", "progress", "reason"], cells, title)


def test_a_board_without_a_terminal_is_a_line_for_each_change(capsys):
    with terminal.board() as show:
        show(rows("begun", ["a", "waiting", ""], ["b", "waiting", ""]))
        show(rows("begun", ["a", "waiting", ""], ["b", "failed", EVIL]))
        show(rows("over", ["a", "waiting", ""], ["b", "failed", EVIL]))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["begun", "a:", "b:", "b:", "over"]
    assert all(line.isprintable() for line in lines)


def test_a_board_on_a_terminal_is_printable(monkeypatch):
    sink = io.StringIO()
    console = rich.console.Console  # noqa: TID251
    monkeypatch.setattr(terminal, "Console", lambda **_: console(file=sink, force_terminal=True, width=200))
    with terminal.board() as show:
        show(rows(f"begun {EVIL}", ["a", "waiting [bold]", EVIL]))
    assert "[bold]" in sink.getvalue()
    assert EVIL not in sink.getvalue()


@pytest.mark.parametrize(
    ("typed", "said"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("n\n", False)]
)
def test_only_a_yes_is_one(monkeypatch, capsys, typed, said):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert terminal.confirmed(f"run {EVIL}?", "give --yes") is typed.lower().startswith("y")
    assert EVIL not in capsys.readouterr().err


def test_where_nobody_can_say_yes_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(InvalidInput) as caught:
        terminal.confirmed("run it?", "give --yes")
    assert caught.value.fix == "give --yes"


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("n\n", False), ("", False)])
def test_what_cannot_be_undone_is_asked_where_somebody_can_type(monkeypatch, capsys, typed, agreed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    if agreed:
        terminal.agree("withdraw it for ever?", yes=False)
    else:
        with pytest.raises(InvalidInput) as caught:
            terminal.agree("withdraw it for ever?", yes=False)
        assert "nothing was changed" in caught.value.message
    assert "withdraw it for ever? [y/N]" in capsys.readouterr().err


def test_nobody_is_asked_twice_or_where_nobody_can_type(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    terminal.agree("withdraw it for ever?", yes=False)  # a script
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    terminal.agree("withdraw it for ever?", yes=True)
    assert capsys.readouterr() == ("", "")


def test_a_wrong_option_is_a_json_object_too_where_it_is_asked_for(monkeypatch, capsys):
    assert outcome(monkeypatch, lambda: None, "do", "--wrong", "--json") == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == "OPTION_INVALID"
    assert "--wrong" in json.loads(out)["message"]
    assert "--wrong" in err


@pytest.mark.parametrize("program", ["genepool", "genepool-server"])
def test_both_programs_say_their_version(program):
    run = [str(Path(sys.executable).parent / program), "--version"]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said == f"{program} {genepool_protocol.__version__}\n"
