"""`genepool simulate`: the play of the researcher's page, one with a site for every role, and what they leave."""

import json
import os
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from tests.docs.transcripts import IMAGES, SIMULATION, Shell, document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BIN = Path(sys.executable).parent
SMALL = ["--steps", "2", "--draws", "1", "--finetune", "2", "--size", "2,1", "--size", "3,2"]
ROLES = {
    "digits-1": "straggler,slower=3",
    "digits-2": "crash,at=every",
    "clothing-0": "crash,at=condense,back=false",
    "clothing-1": "outage,seconds=3",
    "clothing-2": "leak",
    "letters-0": "poison",
    "letters-1": "withdraw",
    "letters-2": "rejoin",
}


def processes():
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[path.parent.name] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def test_two_sites_play_and_leave_a_report_and_no_process(tmp_path):
    shell = Shell(tmp_path)
    for page in (IMAGES, SIMULATION):
        for example in document(page, shell):
            example.evaluate()
    report = tmp_path / "out" / "two"
    content = json.loads((report / "report.json").read_text())
    assert [site["name"] for site in content["sites"]] == ["animals", "clothing"]
    assert len({site["contribution_id"] for site in content["sites"]}) == 2
    assert content["modes_agree"] is True
    assert content["verification"]["tampering_refused"] is True
    assert len(content["rows"]) == 6 * 2
    assert any(row["after"] is not None for row in content["rows"])
    assert "data:image/png" in (report / "report.html").read_text()
    assert not [line for line in processes().values() if str(report) in line]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Nine sites of three domains, each with every twelfth image of a class, and one task."""
    folder = tmp_path_factory.mktemp("images")
    pack = resources.files("genepool_client.simulate") / "samples" / "samples.zip"
    with resources.as_file(pack) as path, zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "pack")
    for domain in ("digits", "clothing", "letters"):
        for kind in sorted((folder / "pack" / "sites" / domain).iterdir())[:4]:
            for place, image in enumerate(sorted(kind.iterdir())[:45]):
                link = folder / "sites" / f"{domain}-{place % 3}" / kind.name / image.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(image)
    return folder


@pytest.fixture(scope="module")
def played(images, tmp_path_factory):
    report = tmp_path_factory.mktemp("played") / "report"
    env = os.environ | {"OMP_NUM_THREADS": "1", "GENEPOOL_CACHE": str(report.parent / "cache")}
    command = [str(BIN / "genepool"), "simulate", *SMALL, "--sites", "9", "--report", str(report)]
    command += ["--data", str(images / "sites"), "--tasks", str(images / "pack" / "tasks" / "digits-5-9")]
    for site, role in ROLES.items():
        command += ["--play", f"{site}={role}"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1100, check=False)
    assert done.returncode == 0, done.stderr
    assert "Who did what, and what it cost" in done.stdout
    assert not [line for line in processes().values() if str(report) in line]
    return report


@pytest.fixture(scope="module")
def content(played):
    return json.loads((played / "report.json").read_text())


@pytest.fixture
def site(content):
    return {row["name"]: row for row in content["sites"]}.__getitem__


def test_sites_play_and_leave_a_report_and_no_process(played, content):
    assert content["modes_agree"] is True
    assert content["verification"]["tampering_refused"] is True
    assert len(content["rows"]) == 1 * 2 * 6
    assert content["peak_bytes"] > 1e8
    assert set(content["cpu_seconds"]) == set(content["seconds"])
    page = (played / "report.html").read_text()
    assert "data:image/png" in page
    assert "killed in the middle of condense" in page


def test_an_honest_site_and_a_straggler_contribute(site):
    for name in ("digits-0", "digits-1"):
        assert (site(name)["outcome"], site(name)["state"]) == ("contributed", "ACTIVE")
    assert site("digits-1")["starts"] == 1


def test_a_site_that_is_killed_in_every_stage_contributes_once(site):
    row = site("digits-2")
    assert (row["outcome"], row["state"], row["starts"]) == ("contributed", "ACTIVE", 6)
    killed = [event.rpartition(" ")[2] for event in row["events"] if "killed in the middle" in event]
    assert killed == ["ask", "read", "train", "condense", "submit"]
    assert row["cpu_seconds"] > 0


def test_a_site_that_never_comes_back_takes_nothing_from_the_others(site, content):
    assert (site("clothing-0")["outcome"], site("clothing-0")["contribution_id"]) == ("gone", "")
    assert sum(row["state"] == "ACTIVE" for row in content["sites"]) >= 4


def test_a_site_whose_network_goes_while_it_submits_contributes_when_it_is_back(site):
    row = site("clothing-1")
    assert (row["outcome"], row["state"]) == ("contributed", "ACTIVE")
    told = " ".join(row["events"])
    assert told.index("the network is gone") < told.index("the network is back") < told.index("contributed")


def test_images_leave_by_neither_door(site):
    row = site("clothing-2")
    assert row["outcome"].startswith("refused: ")
    assert row["contribution_id"] == ""
    assert any("Flower's guard: the receipt is a ArrayRecord" in event for event in row["events"])


def test_random_numbers_are_not_taken_in(site):
    row = site("letters-0")
    assert (row["outcome"], row["state"]) == ("contributed", "REJECTED")
    assert row["kept_out"]


def test_a_site_withdraws_and_one_comes_back_with_other_keys(site):
    assert (site("letters-1")["outcome"], site("letters-1")["state"]) == ("withdrawn", "WITHDRAWN")
    row = site("letters-2")
    assert row["outcome"] == "contributed"
    assert sum("contributed " in event for event in row["events"]) == 2
    assert any("enrolled anew" in event for event in row["events"])


def test_a_report_folder_that_holds_something_else_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    command = [str(BIN / "genepool"), "simulate", "--sites", "2", "--report", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "PATH_NOT_EMPTY"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
