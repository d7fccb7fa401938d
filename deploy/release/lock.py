"""Hold requirements.lock, or another lock, against pyproject.toml, without a network.

    python deploy/release/lock.py [LOCK]

Every package that genepool asks for is pinned to a version that it allows, every line has hashes, and no place to get
packages from is named. What those packages ask for in turn is what `make lock` resolved; that is not looked at again.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "python_version": "3.11"}
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


class Pin(NamedTuple):
    """One package of the lock."""

    name: str
    version: str
    hashes: int


def pins(text: str) -> Iterator[Pin]:
    """Yield the packages of a lock.

    Raises:
        ValueError: a line is neither a pin with its hashes nor a comment.
    """
    lines = (line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#"))
    for line in lines:
        pinned, *hashes = line.split()
        name, equal, version = pinned.partition("==")
        if not equal or not all(_HASH.fullmatch(one) for one in hashes):
            raise ValueError(f"{line[:60]} is no name==version with SHA-256 hashes")
        yield Pin(canonicalize_name(name), version, len(hashes))


def problems(text: str, project: dict[str, Any]) -> list[str]:
    """Return what is wrong with a lock, a sentence each.

    Args:
        text: of requirements.lock.
        project: the table `project` of pyproject.toml.
    """
    try:
        found = {pin.name: pin for pin in pins(text)}
    except ValueError as exc:
        return [str(exc)]
    wrong = [f"{pin.name} has no hash" for pin in found.values() if not pin.hashes]
    for asked in requirements(project):
        pin = found.get(canonicalize_name(asked.name))
        if pin is None:
            wrong.append(f"{asked} is not in the lock")
        elif not asked.specifier.contains(pin.version, prereleases=True):
            wrong.append(f"{asked} does not allow the locked {pin.version}")
    return wrong


def requirements(project: dict[str, Any]) -> Iterator[Requirement]:
    """Yield what genepool asks for on Linux, with every extra."""
    extras = project.get("optional-dependencies", {})
    for line in [*project["dependencies"], *(line for extra in extras.values() for line in extra)]:
        try:
            asked = Requirement(line)
        except InvalidRequirement as exc:
            raise ValueError(f"pyproject.toml asks for {line!r}") from exc
        if asked.name != project["name"] and (asked.marker is None or asked.marker.evaluate(LINUX)):
            yield asked


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK
    wrong = problems(path.read_text(), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    print("\n".join([*wrong, "run: make lock"]) if wrong else f"{path.name} fits pyproject.toml")
    sys.exit(bool(wrong))
