"""`genepool simulate --benchmark --quick` on a part of the sample pack: every table filled, nothing done twice."""

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
from genepool_lab.benchmark.domains import load
from genepool_lab.benchmark.plan import quick
from genepool_protocol.learngene.blueprint import bundled_folder, parse_blueprint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BIN = Path(sys.executable).parent
KINDS = {"covered", "mixture", "unrelated"}  # the sample pack has no relative of thai
DOMAINS = {
    "digits": ("site", ("sites/digits", "tasks/digits-5-9")),
    "letters": ("site", ("sites/letters", "tasks/letters-n-z")),
    "thai": ("uncovered", ("tasks/thai",)),
    "hiragana": ("bystander", ("sites/hiragana",)),
}
ROLES = ("site", "uncovered", "bystander")
IMAGES = 30  # of a class


def command(report, *more):
    return [str(BIN / "genepool"), "simulate", "--benchmark", "--quick", "--report", str(report), "--json", *more]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def run(folder):
    done = subprocess.run(
        on_domains(folder), capture_output=True, text=True, env=environment(), timeout=1100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "bench.json").read_text())


def on_domains(folder):
    return command(folder, "--data", str(folder.parent / "data"))


def write_domains(data):
    """Some domains of the sample pack, each with the part that it has there."""
    archive = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(archive) as path, zipfile.ZipFile(path) as opened:
        for member in map(Path, opened.namelist()):
            for name, (_, folders) in DOMAINS.items():
                if str(member.parent.parent) in folders and int(member.stem) < IMAGES:
                    target = data / name / member.parent.name / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(opened.read(str(member)))
    roles = {name: {"role": role, "relative": ""} for name, (role, _) in DOMAINS.items()}
    (data / "benchmark.json").write_text(json.dumps(roles))


def records(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "store").glob("??/*.json")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("bench")
    write_domains(home / "data")
    return home / "report"


@pytest.fixture(scope="module")
def interrupted(folder):
    """What a run leaves that is interrupted in the midst of the trainings."""
    child = subprocess.Popen(
        on_domains(folder),
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
def found(folder, interrupted):
    return run(folder)


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


def test_a_second_run_computes_nothing_and_says_the_same(found, folder):
    for name in ("bench.md", "gains.png", "epochs.png", "growth.png", "sizes.png", "weights.png"):
        (folder / name).unlink()
    again = run(folder)
    assert again["rows"] == found["rows"]
    assert again["tables"] == found["tables"]
    assert sum(again["core_seconds"].values()) == 0
    assert (folder / "gains.png").stat().st_size > 10_000
    assert "| TALS |" in (folder / "bench.md").read_text()


def test_without_data_the_sample_pack_is_what_it_plays_on(tmp_path):
    blueprint = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
    domains = {domain.name: domain for domain in load([], blueprint, quick(), tmp_path)}
    roles = {role: sorted(name for name, domain in domains.items() if domain.role == role) for role in ROLES}
    sites = ["animals", "clothing", "digits", "letters", "textures"]
    assert roles == {"site": sites, "uncovered": ["thai"], "bystander": ["hiragana"]}
    assert all(not set(domains[name].site.classes) & set(domains[name].unseen.classes) for name in sites)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "PATH_NOT_EMPTY"
