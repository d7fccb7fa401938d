"""How long work says how far it is: one form for training, reading, selecting, up- and downloads."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what): so many of so many units, and a word or two about them for a person."""


def silent(_done: int, _total: int, _what: str) -> None:
    """Nobody is told."""
