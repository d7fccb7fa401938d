"""Letters of every script in plots: the installed fonts that have them, and code points for those that none has.

matplotlib draws a letter with the first font of its list that has it, and an empty box when none has. So the list is
made for the very texts that are drawn.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import matplotlib as mpl
from matplotlib import font_manager

_PLAIN = frozenset(map(chr, range(0x20, 0x7F)))
_USUAL = "DejaVu Sans"
"""Comes with matplotlib."""


@contextlib.contextmanager
def able_to_draw(texts: Iterable[str]) -> Iterator[None]:
    """Plots of this block use whatever installed fonts these texts need; wrap each text in `drawable`."""
    letters = frozenset("".join(texts)) - _PLAIN
    with mpl.rc_context({"font.family": families(letters)}):
        yield


def families(letters: Iterable[str]) -> list[str]:
    """The usual font, and in front of nothing else as few installed ones as have the letters that it lacks."""
    chosen = [_USUAL]
    for letter in sorted(letters):
        family = _family_with(letter)
        if family and family not in chosen:
            chosen.append(family)
    return chosen


def drawable(text: str) -> str:
    """The text, each letter that no installed font has as its code point: `U+1F9EC`."""
    return "".join(letter if letter in _PLAIN or _family_with(letter) else f"U+{ord(letter):04X}" for letter in text)


def shortened(text: str, letters: int) -> str:
    """The text in at most so many letters, before any code point is written out."""
    return drawable(text if len(text) <= letters else text[: letters - 1] + "…")


@lru_cache(maxsize=4096)
def _family_with(letter: str) -> str:
    """Name of a family that has the letter, the usual one if possible; empty when none has."""
    for family, path in _installed():
        with contextlib.suppress(OSError, RuntimeError):  # a file that FreeType cannot read
            if font_manager.get_font(path).get_char_index(ord(letter)):
                return family
    return ""


@lru_cache(maxsize=1)
def _installed() -> Sequence[tuple[str, str]]:
    """Family and path of every upright font of usual weight, the usual one first."""
    fonts = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist) if _upright(entry)}
    return sorted(fonts.items(), key=lambda item: (item[0] != _USUAL, item[0]))


def _upright(entry: font_manager.FontEntry) -> bool:
    # families of pictures draw letters as symbols, and the fallback of last resort draws every letter as its block
    odd = "Last Resort" in entry.name or "Emoji" in entry.name
    return entry.style == "normal" and str(entry.weight) in {"400", "normal", "regular"} and not odd
