"""Write the demo's sample pack: a zip of sites/<site>/<class>/<n>.png and tasks/<task>/<class>/<n>.png, 32x32.

    python make_samples.py WORK OUT.zip

The same packages give the same bytes: entries are sorted, dated 1980, stored as they are. No set of the corpus (see
make_corpus.py) is in the pack, and no class, font or photo of a task is in a site.
"""

import io
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import fonts
import sources
from pictures import Picture, by_label, capped, distinct, shuffled, square

HIRAGANA = "あうかきさたなのまやりを"
SITE_PHOTOS = ("brick", "grass", "gravel", "coffee", "chelsea", "ihc")
TASK_PHOTOS = {"cell": 210, "coins": 60, "hubble_deep_field": 60, "retina": 70, "text": 60}  # patches, blank or not
TASK_LETTERS = "NPRTW"
TASK_THAI = "กงนมห"
PER_TASK_CLASS = 60
EPOCH = (1980, 1, 1, 0, 0, 0)


class SampleRecipe(NamedTuple):
    """How a folder of the pack is read, how alike two of its pictures may be, and how many of a class are kept."""

    read: Callable[[Path], Iterable[Picture]]
    most: int
    threshold: float = 2.0


def _only(pictures: Iterable[Picture], labels: Sequence[str], *, at_most: int) -> Iterator[Picture]:
    """Yield the first pictures of some classes, scaled to the square: background black, as these sets have it."""
    left = dict.fromkeys(labels, at_most)
    for picture in pictures:
        if left.get(picture.label, 0) > 0:
            left[picture.label] -= 1
            yield picture._replace(image=square(picture.image, background=0))


def _latin(work: Path, characters: str, half: int) -> Iterator[Picture]:
    """Yield capitals in one half of the fonts: every other package, and every other letter of the Aenigma fonts."""
    yield from sources.letters(work, fonts.LATIN[half::2], characters, most=2)
    initials = "ACEGIKMOQSUWY" if half == 0 else "BDFHJLNPRTVXZ"
    for initial in initials:
        yield from sources.letters(work, ["aenigma"], characters, most=3, pattern=f"[{initial}{initial.lower()}]*")


def _other_textures(work: Path) -> Iterator[Picture]:
    for name, wanted in TASK_PHOTOS.items():
        yield from sources.patches(work, [name], wanted=wanted)


SITES = {
    "clothing": SampleRecipe(lambda work: _only(sources.fashion(work), sources.CLOTHES[:5], at_most=300), 140),
    "digits": SampleRecipe(lambda work: _only(sources.digits(work), "01234", at_most=300), 140),
    "letters": SampleRecipe(lambda work: _latin(work, "ABCDEFGHIJKLM", 0), 54),
    "animals": SampleRecipe(lambda work: _only(sources.animals(work), sources.ANIMALS[:5], at_most=800), 140, 6.0),
    "textures": SampleRecipe(lambda work: sources.patches(work, SITE_PHOTOS, wanted=118), 117),
    "hiragana": SampleRecipe(lambda work: sources.letters(work, fonts.HIRAGANA, HIRAGANA, most=60), 58),
}
TASKS = {
    "shoes-and-bags": SampleRecipe(
        lambda work: _only(sources.fashion(work), sources.CLOTHES[5:], at_most=150), PER_TASK_CLASS
    ),
    "digits-5-9": SampleRecipe(lambda work: _only(sources.digits(work), "56789", at_most=150), PER_TASK_CLASS),
    "letters-n-z": SampleRecipe(lambda work: _latin(work, TASK_LETTERS, 1), PER_TASK_CLASS),
    "animals-other": SampleRecipe(
        lambda work: _only(sources.animals(work), sources.ANIMALS[5:], at_most=800), PER_TASK_CLASS, 6.0
    ),
    "textures-other": SampleRecipe(_other_textures, PER_TASK_CLASS),
    "thai": SampleRecipe(lambda work: sources.thai(work, TASK_THAI), PER_TASK_CLASS),
}


def entries(work: Path, folder: str, recipe: SampleRecipe) -> Iterator[tuple[str, bytes]]:
    """Yield the name in the pack and the bytes of each picture of one folder."""
    kept = capped(distinct(shuffled(recipe.read(work)), threshold=recipe.threshold), recipe.most)
    for label, pictures in by_label(kept).items():
        for number, picture in enumerate(pictures):
            png = io.BytesIO()
            picture.image.save(png, "PNG", optimize=True)
            yield f"{folder}/{label.replace('_', '-')}/{number:03d}.png", png.getvalue()


def main(work: Path, out: Path) -> None:
    """Write the pack and say how many pictures each folder has."""
    found: dict[str, bytes] = {}
    for kind, recipes in (("sites", SITES), ("tasks", TASKS)):
        for name, recipe in recipes.items():
            own = dict(entries(work.resolve(), f"{kind}/{name}", recipe))
            print(f"{kind}/{name}: {len(own)} images, {len({n.split('/')[2] for n in own})} classes", flush=True)
            found |= own
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(found):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, found[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
