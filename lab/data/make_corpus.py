"""Write the corpus that the public seed is baked from: OUT/<set>/<class>/<n>.png, 32x32 RGB.

    python make_corpus.py WORK OUT

Downloads land in WORK. When all is written, OUT/DONE holds the number of pictures and classes of each set.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import fonts
import sources
from pictures import Picture, by_label, capped, distinct, shuffled
from PIL import Image

KATAKANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
PHOTOS = ("astronaut", "camera", "rocket", "clock_motion", "china", "flower")
CLIPART = fonts.words("""
animals/birds animals/bugs animals/fish animals/mammals buildings/homes computer/buttons computer/hardware
computer/icons/flat-theme/applications computer/icons/lemon-theme/actions computer/icons/lemon-theme/mimetypes
decorations education/books electronics food/beverages food/breads_and_carbs food/desserts food/fruit
food/meats_and_eggs geography office people/bodypart people/clothing people/smilies people/stickmen plants/flowers
recreation/games/cards recreation/holiday recreation/music recreation/party recreation/religion recreation/sports
recreation/toys shapes/arrows shapes/callouts shapes/flowchart shapes/jigsaw shapes/stars signs_and_symbols/clocks
signs_and_symbols/flags signs_and_symbols/led signs_and_symbols/map_symbols signs_and_symbols/weather
special/gradients special/patterns tools transportation/aiga-symbols transportation/boating transportation/roadsigns
transportation/vehicles
""")


class SetRecipe(NamedTuple):
    """How a set of the corpus is read, how alike two of its pictures may be, and how many of a class are kept."""

    read: Callable[[Path], Iterator[Picture]]
    threshold: float
    most: int
    least: int = 12


def _textures(work: Path) -> Iterator[Picture]:
    for wanted in (24, 60, 120):
        yield from sources.patches(work, PHOTOS, wanted=wanted)


def _scenery(work: Path) -> Iterator[Picture]:
    for wanted in (12, 48, 120):
        yield from sources.scenery(work, wanted=wanted)


RECIPES = {
    "emoji": SetRecipe(sources.emoji, 2.0, 110),
    "clipart": SetRecipe(lambda work: sources.clipart(work, CLIPART), 2.0, 70),
    "furniture": SetRecipe(sources.furniture, 2.0, 100),
    "sprites": SetRecipe(sources.sprites, 2.0, 100),
    "katakana": SetRecipe(lambda work: sources.letters(work, fonts.KATAKANA, KATAKANA, most=5), 3.0, 60),
    "greek": SetRecipe(lambda work: sources.letters(work, fonts.GREEK_CYRILLIC, GREEK, most=4), 3.0, 60),
    "cyrillic": SetRecipe(lambda work: sources.letters(work, fonts.GREEK_CYRILLIC, CYRILLIC, most=4), 3.0, 60),
    "photos": SetRecipe(_textures, 2.0, 200),
    "scenery": SetRecipe(_scenery, 2.0, 64),
}


def write_set(work: Path, out: Path, recipe: SetRecipe) -> tuple[int, int]:
    """Write one set below a folder and return the number of its pictures and of its classes."""
    kept = capped(distinct(shuffled(recipe.read(work)), threshold=recipe.threshold), recipe.most)
    classes = {label: own for label, own in by_label(kept).items() if len(own) >= recipe.least}
    for label, pictures in classes.items():
        folder = out / label
        folder.mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.image.convert("RGB").save(folder / f"{number:03d}.png", optimize=True)
    return sum(len(own) for own in classes.values()), len(classes)


def main(work: Path, out: Path) -> None:
    """Write every set of the corpus, then the file DONE."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # some drawings are huge
    lines = []
    for name, recipe in RECIPES.items():
        pictures, classes = write_set(work.resolve(), out / name, recipe)
        lines.append(f"{name} {pictures} images {classes} classes")
        print(lines[-1], flush=True)
    (out / "DONE").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
