"""`python -m tests.conformance.mutants [NUMBER ...]` takes defences out, one by one, and fails where no test notices.

mutants.toml names the defences against attacks of attacks.toml, and the tests that fail without each. All of it happens
in a copy of the tree, whose packages come before the installed ones.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("protocol", "server", "client", "lab")
ATTACKS: Final[dict[int, dict[str, Any]]] = {
    attack["number"]: attack
    for attack in tomllib.loads((ROOT / "tests/conformance/attacks.toml").read_text())["attack"]
}
"""The attacks, by number."""

_FAILED: Final = re.compile(r"^FAILED tests/(\S+?::\w+)(?:\[.*?\])?(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A defence that is taken out.

    Attributes:
        attack: number of the attack that it is for.
        without: what is missing or weak then.
        file: where the defence is, from the root of the repository.
        old: its text, which the file holds once.
        new: what stands there instead.
        fails: tests of the attack, each of which fails without the defence.
    """

    attack: int
    without: str
    file: str
    old: str
    new: str
    fails: list[str]


MUTANTS: Final = [
    Mutant(**entry) for entry in tomllib.loads((ROOT / "tests/conformance/mutants.toml").read_text())["mutant"]
]


def copy(to: Path) -> None:
    """The tree as it is here, committed or not, as a repository of its own: some tests ask git for its files."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, stdout=-1, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=to, check=True)


def python(tree: Path, *arguments: str) -> str:
    """What Python says in the copy, with the copy's packages before the installed ones, also in what it starts."""
    ours = os.pathsep.join(str(tree / package) for package in PACKAGES)
    env = {**os.environ, "PYTHONPATH": ours, "COLUMNS": "300"}  # else pytest leaves out why a test failed
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return ran.stdout.decode(errors="replace")


def failures(tree: Path, tests: Iterable[str]) -> tuple[dict[str, str], str]:
    """Which of these tests fail in the copy, with the reason, and what pytest said at its end."""
    said = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in tests))
    return dict(_FAILED.findall(said)), said.strip().rpartition("\n")[2]


def survived(mutant: Mutant, tree: Path) -> bool:
    """Whether a test of a mutant passes without the defence; prints what became of each."""
    path = tree / mutant.file
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    try:
        failed, end = failures(tree, mutant.fails)
    finally:
        path.write_text(whole)
    print(f"{mutant.attack} without {mutant.without}")
    for name in mutant.fails:
        print(f"    {name}: {failed[name][:110]}" if name in failed else f"    SURVIVED {name}: {end}", flush=True)
    return not failed.keys() >= set(mutant.fails)


def main() -> int:
    """Exit code: 1 where a mutant survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="of attacks; all by default")
    numbers = parser.parse_args().numbers
    chosen = [mutant for mutant in MUTANTS if not numbers or mutant.attack in numbers]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy(tree)
        if not python(tree, "-c", "print(__import__('genepool_protocol').__file__)").startswith(folder):
            raise SystemExit("the packages of the copy are not the ones that are imported")
        wrong, end = failures(tree, sorted({name for mutant in chosen for name in mutant.fails}))
        print(f"with every defence: {end}", flush=True)
        if wrong or "error" in end:
            raise SystemExit(f"a test fails as it is: {wrong}")
        return 1 if [mutant for mutant in chosen if survived(mutant, tree)] else 0


if __name__ == "__main__":
    sys.exit(main())
