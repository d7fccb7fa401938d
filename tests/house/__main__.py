"""`python -m tests.house` fails where names say nothing or two classes share one; `--table` prints the numbers."""

import argparse
import sys
from pathlib import Path
from typing import Final

from tests.house.measure import House

VAGUE_PER_THOUSAND: Final = 10
"""Functions with a vague local; sigstore-python, python-tuf, Flower and timm have none or one in a thousand."""


def complaints(house: House) -> list[str]:
    """What breaks a rule of the house, a line each."""
    lines = [f"class {name} is defined in {' and '.join(places)}" for name, places in sorted(house.twice.items())]
    if house.vague_functions * 1000 >= VAGUE_PER_THOUSAND * len(house.functions):
        lines += [str(local) for local in house.vague]
    return lines


def main() -> int:
    """Exit code: 1 where a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="a checkout, here by default")
    parser.add_argument("--table", action="store_true", help="print the numbers and check nothing")
    options = parser.parse_args()
    house = House(options.root.resolve())
    if options.table:
        print(house.table())
        return 0
    broken = complaints(house)
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
