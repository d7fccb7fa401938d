"""The drill's own arithmetic: faults happen once and where they are due, and what is lost is counted."""

import dataclasses
import json
import sys
import time

import psutil
import pytest

from genepool_client.simulate.roles.network import Network
from genepool_lab.drill import cast, kept, page, watching
from genepool_lab.drill.cast import FAULTS, GONE, KILLED, OTHERS, OUTAGE, ROUNDS, SITES, STEPS, Drilled
from genepool_lab.drill.round import MARKS, mark
from genepool_protocol.machine.processes import Child
from genepool_protocol.wire.errors import Unavailable

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); "
PARENT += "print('up', flush=True); time.sleep(99)"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / MARKS).mkdir()
    return tmp_path


@pytest.fixture
def nodes(folder):
    def start(site):
        log = folder / f"node-{site}-{time.monotonic_ns()}.log"
        child = Child("a node", [sys.executable, "-c", PARENT], log, env={}, cwd=folder)
        child.wait_for("up", 60)
        return child

    made = watching.Nodes(start)
    yield made
    made.stop()


@pytest.fixture
def watch(folder, nodes):
    made = watching.FaultWatch(folder, nodes, 300.0)
    with Network("127.0.0.1:1") as made.network:
        yield made


def test_every_site_with_a_fault_of_rounds_has_it_at_a_step_of_rounds():
    assert {fault.site for fault in FAULTS} == {KILLED, OUTAGE, GONE}
    assert {fault.step for fault in FAULTS if fault.site == KILLED} == set(cast.ROUND_STEPS)
    assert len(OTHERS) + 4 == SITES
    assert STEPS % ROUNDS == 0


def test_a_killed_node_ends_with_its_children_and_comes_back_and_a_gone_one_does_not(folder, nodes, watch, monkeypatch):
    monkeypatch.setattr(watching, "RESTART", 0.0)
    for site in (KILLED, GONE):
        nodes.start(site)
    before = nodes.running[KILLED].pid
    family = psutil.Process(before).children()
    (folder / MARKS / f"{KILLED}-1-read").touch()
    (folder / MARKS / f"{GONE}-1-train").touch()
    watch.look()
    assert not any(process.is_running() for process in family)
    watch.look()
    assert set(nodes.running) == {KILLED}
    assert nodes.running[KILLED].pid != before
    mark(folder, KILLED, 1, "read")  # nothing is due a second time
    watch.look()
    assert [note.partition("s: ")[2] for note in watch.notes] == [
        f"site {KILLED}: kill at read of round 1",
        f"site {GONE}: gone at train of round 1",
        f"site {KILLED}: started again",
    ]


def outcome(folder, watch, play):
    return watching.run(folder, watch, play, "a system", "as it comes")


def finish(folder, sites, number):
    for site in sites:
        (folder / MARKS / f"{site}-{number}-done").touch()


def test_lost_is_what_others_finished_and_what_is_in_nothing_that_is_kept(folder, watch):
    def play():
        (folder / "began").touch()
        finish(folder, range(SITES), 1)
        kept.keep(folder, 1, range(1, SITES), {})
        finish(folder, OTHERS, 2)
        raise Unavailable("SIMULATION_FAILED", "the run was aborted", "")

    drilled = outcome(folder, watch, play)
    each = STEPS // ROUNDS
    assert (drilled.steps_done, drilled.steps_kept) == (8 * each, 4 * each)
    assert drilled.steps_lost == 4 * each
    assert drilled.outcome == "failed: the run was aborted"
    assert (drilled.rounds, drilled.sites) == (1, tuple(range(1, SITES)))
    assert drilled.seven is not None


def test_a_round_that_nobody_answered_is_no_round(folder, watch):
    drilled = outcome(folder, watch, lambda: kept.keep(folder, 1, [], {}))
    assert (drilled.rounds, drilled.weights, drilled.seven) == (0, "", None)


def test_a_run_that_does_not_end_is_ended(folder, watch):
    watch.limit = 0.0

    def play():
        time.sleep(0.01)
        watch.look()

    assert "unfinished" in outcome(folder, watch, play).outcome


def test_the_table_has_a_line_for_each_run():
    accuracy = {"each": [0.5], "mean": 0.5, "gain": 1.25, "low": -0.5, "high": 3.0}
    run = Drilled("a system", "as it comes", "completed", 12.4, 10.6, tuple(range(7)), 120, 120, accuracy=accuracy)
    row = json.loads(json.dumps({**dataclasses.asdict(run), "steps_lost": run.steps_lost}))
    lines = page.table([row]).splitlines()
    assert lines[-1] == "| a system | as it comes | completed | 0 of 120 | 7 of 8 | 11 | 12 | +1.2 (-0.5 to +3.0) |"
    assert len({line.count("|") for line in lines}) == 1
