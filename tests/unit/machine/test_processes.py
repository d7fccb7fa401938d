"""Children never outlive us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genepool_protocol.machine.processes import Child, beginning, end_sessions, run_json
from genepool_protocol.wire.errors import Unavailable
from tests.support.server import wait_until

PARENT = """
import subprocess, sys, time
stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(9)"
inner = subprocess.Popen([sys.executable, "-c", stubborn])
print("inner", inner.pid, flush=True)
time.sleep(600)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_stopping_a_child_ends_its_children_too(tmp_path, monkeypatch):
    monkeypatch.setattr("genepool_protocol.machine.processes._GRACE", 0.5)
    with Child("a parent", [sys.executable, "-c", PARENT], tmp_path / "log", env={}, cwd=tmp_path) as child:
        pid = int(child.wait_for("inner ", 20).split()[1])
        child.wait_for("deaf", 20)
        assert alive(pid)
    for _ in range(50):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)


def test_a_session_is_ended_also_when_who_led_it_was_killed(tmp_path):
    child = Child("a parent", [sys.executable, "-c", PARENT], tmp_path / "log", env={}, cwd=tmp_path)
    inner, began = int(child.wait_for("inner ", 20).split()[1]), beginning(child.pid)
    child.wait_for("deaf", 20)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert alive(inner)
    end_sessions([(child.pid, began)], 0.1)
    assert not alive(inner)


def test_a_session_whose_number_another_one_has_by_now_is_left_alone(tmp_path):
    child = Child("a parent", [sys.executable, "-c", PARENT], tmp_path / "log", env={}, cwd=tmp_path)
    child.wait_for("deaf", 20)
    end_sessions([(child.pid, "another beginning")], 0.1)
    assert child.returncode is None
    end_sessions([(child.pid, beginning(child.pid))], 0.1)
    assert child.wait(10) is not None


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    with (
        Child("a child", command, tmp_path / "log", env={}, cwd=tmp_path) as child,
        pytest.raises(Unavailable) as caught,
    ):
        child.wait_for("ready", 20)
    assert caught.value.reason == "SIMULATION_FAILED"
    assert "no room" in caught.value.fix


def test_what_an_earlier_child_wrote_into_the_log_is_not_taken_for_this_one(tmp_path):
    log = tmp_path / "log"
    log.write_text("ready at 1\n")
    with Child("a child", [sys.executable, "-c", "print('ready at 2')"], log, env={}, cwd=tmp_path) as child:
        assert child.wait_for("ready", 20) == "ready at 2"
    assert log.read_text().startswith("ready at 1\n")


def test_a_command_that_fails_is_reported_with_what_it_wrote(tmp_path):
    with pytest.raises(Unavailable) as caught:
        run_json([sys.executable, "-c", "import sys; sys.exit('wrong key')"], env={}, cwd=tmp_path)
    assert caught.value.reason == "SIMULATION_FAILED"
    assert "wrong key" in caught.value.fix


LAUNCHER = """
import os, sys, time
from pathlib import Path
from genepool_protocol.machine.processes import Child
child = Child("a parent", [sys.executable, "-c", {parent!r}], Path("log"), env={{}}, cwd=Path("."))
child.wait_for("deaf", 20)
print(child.pid, child.wait_for("inner ", 20).split()[1], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP], ids=["killed", "hung up"])
def test_children_and_theirs_end_with_a_launcher_that_is_killed(tmp_path, number):
    command = [sys.executable, "-c", LAUNCHER.format(parent=PARENT.replace("sleep(9)", "sleep(600)"))]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(word) for word in launcher.stdout.readline().split()]
        assert all(map(alive, pids))
        launcher.send_signal(number)
    assert wait_until(lambda: not any(map(alive, pids)), 60)


def test_a_process_that_got_the_number_of_a_child_is_not_ended(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as other:
        keeper = [sys.executable, "-m", "genepool_protocol.machine.lifeline"]
        subprocess.run(keeper, input=f"{other.pid} 1\n", text=True, check=True, timeout=60)
        assert other.poll() is None
        subprocess.run(keeper, input=f"{other.pid} {beginning(other.pid)}\n", text=True, check=True, timeout=60)
        assert other.wait(20) == -signal.SIGTERM
