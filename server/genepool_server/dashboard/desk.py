"""What pages are made from, and what they are: a pool's read side, the question, and the answer in bytes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup

from genepool_protocol import __version__
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.text import shown
from genepool_server.dashboard.day_counts import DayCounts
from genepool_server.dashboard.projection import Plane
from genepool_server.observing.state import FrontState, PoolState
from genepool_server.pool.pool import OpenPool
from genepool_server.records import Contribution, LoadedBlueprint

HTML: Final = "text/html; charset=utf-8"
SVG: Final = "image/svg+xml"

_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A question.

    Attributes:
        path: parts of the address.
        query: what stands behind the question mark.
        operator: whether an operator asks.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    operator: bool = False

    def number(self, name: str, default: int) -> int:
        """A number of the address or behind the question mark.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        text = self.path.get(name, self.query.get(name, ""))
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
            raise InvalidInput("OPTION_INVALID", f"{name} is a number", "go back, and choose a link")
        return int(text)


@dataclass(frozen=True, slots=True)
class Content:
    """An answer.

    Attributes:
        body: its bytes.
        kind: its media type.
        file: the name under which it is saved; empty for what is looked at.
    """

    body: bytes
    kind: str = HTML
    file: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where pages are made. Blocking.

    Attributes:
        pool: what they are about.
        state: what the event loop and the disk say: a part that cannot be read is None.
        plane: the domain embeddings of a blueprint's contributions, in their order, on a plane.
        descents: since the server runs.
        now: the clock.
    """

    pool: OpenPool
    state: Callable[[], tuple[FrontState | None, PoolState | None]]
    plane: Callable[[LoadedBlueprint, list[Contribution]], Plane]
    descents: DayCounts
    now: Callable[[], datetime]

    def page(self, template: str, asked: PageRequest, **values: Any) -> Content:
        """A template, filled in."""
        common = {"asked": asked, "origin": self.pool.origin, "now": self.now(), "version": __version__}
        return Content(_TEMPLATES.get_template(template).render(**common, **values).encode())


def style() -> bytes:
    """The style sheet."""
    return resources.files(__package__).joinpath("templates", "dashboard.css").read_bytes()


def printable(value: Any) -> Any:
    """What a template shows of a value: of a text every character, so that none hides or turns the line around."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span(seconds: float) -> str:
    """A time for people, in its largest unit."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{int(seconds)} s"


def lines(text: str) -> Iterator[str]:
    """The lines of a text, each of them printable."""
    return (shown(line) for line in text.rstrip("\n").split("\n"))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "span": span, "text_lines": lines}
    return environment


_TEMPLATES: Final = _environment()
