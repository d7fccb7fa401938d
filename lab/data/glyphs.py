"""Draw single characters in many fonts, black on white, each fitted to the square with a small margin."""

import io
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]
from pictures import SIDE, Picture
from PIL import Image, ImageDraw, ImageFont

INK = 26  # pixels of the square that the longer side of a glyph fills
HIGH = 96  # point size at which a glyph is drawn before it is scaled down
UNASSIGNED = "\uffff"  # no font draws this: what comes out is the font's mark for a missing glyph
SUFFIXES = {".ttf", ".otf", ".ttc", ".woff"}


def font_files(folder: Path, *, most: int, pattern: str = "*") -> list[Path]:
    """Return at most so many font files below a folder, spread evenly over their sorted names."""
    files = sorted(p for p in folder.rglob(pattern) if p.suffix.lower() in SUFFIXES and not p.is_symlink())
    return files if len(files) <= most else [files[i * len(files) // most] for i in range(most)]


def name_of(character: str) -> str:
    """Return a file-safe class name: `alpha`, `short-i`, `ko-kai`; a Latin capital is its own name."""
    if character.isascii():
        return character
    words = unicodedata.name(character).split()
    mark = next((i for i, word in enumerate(words) if word in {"LETTER", "CHARACTER", "SYLLABLE"}), -1)
    return "-".join(words[mark + 1 :]).lower() if mark >= 0 else f"u{ord(character):04x}"


def glyphs(files: Iterable[Path], characters: str) -> Iterator[Picture]:
    """Yield one picture per font and character, with the font's name as group.

    A font that lacks one of the characters is left out whole, so that every class sees the same fonts; so is one that
    draws a missing-glyph mark or nothing for any of them. Fonts that cannot be opened are passed over.
    """
    for file in files:
        try:
            yield from _of_font(file, characters)
        except (OSError, TTLibError, ValueError):
            continue


def _of_font(file: Path, characters: str) -> list[Picture]:
    table = TTFont(file, fontNumber=0, lazy=True).getBestCmap() or {}
    if any(ord(character) not in table for character in characters):
        return []
    font = ImageFont.truetype(_as_truetype(file), HIGH)
    missing = drawn(font, UNASSIGNED)
    marks = {missing.tobytes()} if missing else set()
    found = []
    for character in characters:
        image = drawn(font, character)
        if image is None or image.tobytes() in marks:
            return []
        found.append(Picture(name_of(character), file.stem, image))
    return found


def _as_truetype(file: Path) -> io.BytesIO:
    if file.suffix.lower() != ".woff":
        return io.BytesIO(file.read_bytes())
    plain, font = io.BytesIO(), TTFont(file)
    font.flavor = None
    font.save(plain)
    plain.seek(0)
    return plain


def drawn(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """Return one character as a picture, or None when the font draws nothing for it."""
    page = Image.new("L", (4 * HIGH, 4 * HIGH), 0)
    ImageDraw.Draw(page).text((1.5 * HIGH, 1.5 * HIGH), character, fill=255, font=font)
    box = page.getbbox()
    if box is None:
        return None
    ink = page.crop(box)
    scale = INK / max(ink.size)
    size = (max(1, round(ink.width * scale)), max(1, round(ink.height * scale)))
    canvas = Image.new("L", (SIDE, SIDE), 0)
    canvas.paste(ink.resize(size, Image.Resampling.BOX), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return canvas.point(lambda value: 255 - value)
