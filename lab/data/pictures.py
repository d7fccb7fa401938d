"""Pictures with a label and a group, and the few operations that every set shares."""

import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels
WHITE = (255, 255, 255, 255)


class Picture(NamedTuple):
    """One picture, its class, and the group (font, vendor, photo row) that must stay on one side of a split."""

    label: str
    group: str
    image: Image.Image


def flatten(image: Image.Image) -> Image.Image:
    """Return the picture as RGB, what is transparent having become white."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")


def square(image: Image.Image, *, side: int = SIDE, background: int = 255) -> Image.Image:
    """Return the picture scaled to fit a square, its shape kept, centred on a plain background."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fill = background if image.mode == "L" else (background,) * 3
    canvas = Image.new(image.mode, (side, side), fill)
    canvas.paste(
        image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), ((side - size[0]) // 2, (side - size[1]) // 2)
    )
    return canvas


def by_label(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    """Return the pictures of each class, classes sorted by name."""
    found: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        found[picture.label].append(picture)
    return dict(sorted(found.items()))


def distinct(pictures: Iterable[Picture], *, threshold: float) -> Iterator[Picture]:
    """Yield the pictures less the blank ones and the near copies of an earlier one of the same class.

    Args:
        pictures: pictures of one size.
        threshold: two pictures are near copies when their pixels differ by less than this on average (of 255).
    """
    kept: defaultdict[str, list[NDArray[np.int16]]] = defaultdict(list)
    for picture in pictures:
        pixels = np.asarray(picture.image.convert("L"), dtype=np.int16).ravel()
        if int(pixels.max()) - int(pixels.min()) < 24:
            continue
        others = kept[picture.label]
        if others and float(np.abs(np.stack(others) - pixels).mean(axis=1).min()) < threshold:
            continue
        others.append(pixels)
        yield picture


def shuffled(pictures: Iterable[Picture], *, seed: int = 0) -> list[Picture]:
    """Return the pictures in an order that depends on the seed alone."""
    order = list(pictures)
    random.Random(seed).shuffle(order)
    return order


def capped(pictures: Iterable[Picture], most: int) -> Iterator[Picture]:
    """Yield at most so many pictures of each class, one group after the other in turn."""
    for members in by_label(pictures).values():
        groups: defaultdict[str, list[Picture]] = defaultdict(list)
        for picture in members:
            groups[picture.group].append(picture)
        turns = [(turn, group, picture) for group, own in groups.items() for turn, picture in enumerate(own)]
        turns.sort(key=lambda item: item[0])
        yield from (picture for _, _, picture in turns[:most])


def save(pictures: Iterable[Picture], out: Path, *, most: int, least: int, threshold: float) -> None:
    """Write OUT/CLASS/<n>.png, whole or not at all; see `capped` and `distinct`; smaller classes are left out."""
    kept = capped(distinct(shuffled(pictures), threshold=threshold), most)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for label, members in by_label(kept).items():
        if len(members) >= least:
            folder = part / label.replace("_", "-")
            folder.mkdir(parents=True)
            for number, picture in enumerate(members):
                picture.image.save(folder / f"{number:03d}.png", optimize=True)
    part.rename(out)
