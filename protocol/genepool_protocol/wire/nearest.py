"""What somebody meant who wrote a name that there is not."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like it; empty when none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest; empty when there is none."""
    closest = nearest(name, known)
    return f"; the nearest is {closest}" if closest else ""
