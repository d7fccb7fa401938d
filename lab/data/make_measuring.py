"""Write the domains that the sizes of a seed are measured on: OUT/DOMAIN/CLASS/<n>.png, 32x32, gray or RGB.

    python make_measuring.py WORK OUT

`genepool-server blueprint measure` reads them (--tasks). None of their sets or fonts is in the corpus that the seed is
baked from, in the sample pack or in the benchmark. A domain that is already there is left as it is.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import fetch
import fonts
import sources
from pictures import Picture, flatten, save, square

from genepool_protocol.pictures import open_picture

TAMIL = "அஆஇஉஎஏஐஒகஙசஞடணதநபமயரலவழளறன"
BENGALI = "অআইউএকখগঘচছজঝটঠডঢতথদধনপফবভমযরলশষসহ"
OXYGEN = ("actions", "apps", "devices", "mimetypes", "places", "status")


def oxygen(work: Path) -> Iterator[Picture]:
    """Yield the coloured icons of the Oxygen theme by what they stand for."""
    root = fetch.apt(work, "oxygen-icon-theme") / "usr/share/icons/oxygen/base/64x64"
    for label in OXYGEN:
        for file in sorted((root / label).glob("*.png")):
            yield Picture(label, file.stem.split("-")[0], square(flatten(open_picture(file))))


def domains(work: Path) -> dict[str, Iterable[Picture]]:
    """Return the pictures of each domain; web fonts: OFL-1.1 (npm, @fontsource); Oxygen: LGPL-3 (apt)."""
    return {
        "bengali": sources.webfonts(work, fonts.BENGALI, "bengali", BENGALI),
        "oxygen": oxygen(work),
        "tamil": sources.webfonts(work, fonts.TAMIL, "tamil", TAMIL),
    }


def main(work: Path, out: Path) -> None:
    """Write every domain that is not there."""
    out.mkdir(parents=True, exist_ok=True)
    for name, pictures in domains(work.resolve()).items():
        if not (out / name).is_dir():
            save(pictures, out / name, most=60, least=20, threshold=2.0)
        print(
            f"{name}: {len(list((out / name).glob('*/*.png')))} pictures, {len(list((out / name).iterdir()))} classes"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    main(options.work, options.out)
