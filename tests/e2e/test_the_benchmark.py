"""`genepool simulate --benchmark --quick` on four domains: every table filled, sane figures, nothing done twice."""

import json
import os
import subprocess
import sys
import time
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from genepool_lab.benchmark import rows as names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BIN = Path(sys.executable).parent
KINDS = {"covered", "mixture", "unrelated"}
ROLES = {"digits": "site", "clothing": "site", "thai": "uncovered", "hiragana": "bystander"}
DOMAINS = {"digits-5-9": "digits", "shoes-and-bags": "clothing"}
"""Tasks of the sample pack whose classes are of a site's domain."""
IMAGES = 30
"""Of a class."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two covered domains, one that nobody covers and a bystander, out of the sample pack."""
    folder = tmp_path_factory.mktemp("domains")
    archive = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(archive) as path, zipfile.ZipFile(path) as opened:
        for name in opened.namelist():
            _, domain, label, image = name.split("/")
            domain = DOMAINS.get(domain, domain)
            if domain in ROLES and int(Path(image).stem) < IMAGES:
                target = folder / domain / label / image
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(opened.read(name))
    roles = {domain: {"role": role, "relative": ""} for domain, role in ROLES.items()}
    (folder / "benchmark.json").write_text(json.dumps(roles))
    return folder


def command(folder, data):
    chosen = ["--quick", "--steps", "8", "--data", str(data)]
    return [str(BIN / "genepool"), "simulate", "--benchmark", *chosen, "--report", str(folder), "--json"]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def run(folder, data):
    done = subprocess.run(
        command(folder, data), capture_output=True, text=True, env=environment(), timeout=1100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "bench.json").read_text())


def records(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "store").glob("??/*.json")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench") / "report"


@pytest.fixture(scope="module")
def interrupted(folder, data):
    """What a run leaves that is interrupted in the midst of the trainings."""
    child = subprocess.Popen(
        command(folder, data),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    trained = 0
    while child.poll() is None and trained < 2:
        time.sleep(0.5)
        trained = sum("ancestry_seconds" in path.read_text() for path in records(folder))
    child.terminate()
    assert child.wait(60) != 0
    return records(folder)


@pytest.fixture(scope="module")
def found(folder, data, interrupted):
    return run(folder, data)


def test_an_interrupted_run_ends_with_its_processes_and_the_next_one_goes_on(folder, interrupted, found):
    assert len(interrupted) > 2
    assert not [line for line in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in read(line)]
    after = records(folder)
    assert {path: after[path] for path in interrupted} == interrupted
    assert not list((folder / "store" / "work").iterdir())


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def mean(found, column, **wanted):
    picked = [
        row["accuracy"]
        for row in found["rows"]
        if row["column"] == column and all(row[name] == value for name, value in wanted.items())
    ]
    return sum(picked) / len(picked)


def test_every_column_has_a_figure_for_every_kind_and_number_of_images(found):
    main = [row for row in found["rows"] if row["table"] == names.MAIN]
    for shots in found["plan"]["shots"]:
        for column in names.COLUMNS:
            kinds = {row["kind"] for row in main if row["column"] == column and row["shots"] == shots}
            assert kinds == (set() if (column, shots) == (names.KNN, 1) else KINDS), (column, shots)
    assert {row["epochs"] for row in found["rows"] if row["table"] == names.EPOCHS} == {0, 1}
    assert {row["table"] for row in found["rows"]} == {
        names.MAIN, names.EPOCHS, names.SIZES, names.GROWTH, names.SEQUENTIAL
    }  # fmt: skip


def test_the_figures_are_sane(found):
    main = {column: mean(found, column, table=names.MAIN, shots=5) for column in names.COLUMNS}
    assert main[names.SEED] > main[names.SCRATCH] + 0.03  # a baked seed is worth something
    assert main[names.TALS] > main[names.SEED] - 0.08
    assert main[names.ORACLE] >= max(main[names.BY_EMBEDDING], main[names.LOGME], main[names.ORACLE_TASK]) - 1e-9
    assert main[names.ORACLE_TASK] >= main[names.RANDOM_MEMBER] - 1e-9
    assert abs(main[names.RANDOM_POOL] - main[names.SEED]) < 0.1  # random numbers bring nothing
    assert mean(found, names.TALS, shots=5, table=names.MAIN) > mean(found, names.TALS, shots=1, table=names.MAIN)


def test_the_seed_s_figure_is_the_same_wherever_it_stands(found):
    sequential = [row for row in found["rows"] if (row["table"], row["column"]) == (names.SEQUENTIAL, names.SEED)]
    for row in sequential:
        place = {name: row[name] for name in ("task", "draw", "shots")}
        assert row["accuracy"] == pytest.approx(mean(found, names.SEED, table=names.MAIN, **place))


def test_a_second_run_computes_nothing_and_says_the_same(found, folder, data):
    for name in ("bench.md", "gains.png", "epochs.png", "growth.png", "sizes.png", "weights.png"):
        (folder / name).unlink()
    again = run(folder, data)
    assert again["rows"] == found["rows"]
    assert again["tables"] == found["tables"]
    assert sum(again["core_seconds"].values()) == 0
    assert (folder / "gains.png").stat().st_size > 10_000
    assert "| TALS |" in (folder / "bench.md").read_text()


def test_a_folder_that_holds_something_else_is_refused(tmp_path, data):
    (tmp_path / "notes.txt").write_text("mine")
    done = subprocess.run(command(tmp_path, data), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "PATH_NOT_EMPTY"
