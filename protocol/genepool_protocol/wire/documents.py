"""The base of every document that is signed, hashed or handed over: frozen, strict, without unknown members."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from genepool_protocol.wire import text
from genepool_protocol.wire.nearest import nearest


def moment(stated: str) -> datetime:
    """The time that a `Timestamp` names.

    Raises:
        ValueError: there is no such time.
    """
    return datetime.strptime(stated, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def stamp(time: datetime) -> str:
    """The `Timestamp` of a time, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _existing(stated: str) -> str:
    moment(stated)
    return stated


Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Decimal = Annotated[str, Field(pattern=r"^-?[0-9]{1,9}(\.[0-9]{1,12})?(e-?[0-9]{1,2})?$")]
NAME: Final = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
LICENSE: Final = r"^[A-Za-z0-9.+-]{1,64}$"
Name = Annotated[str, Field(pattern=NAME)]
License = Annotated[str, Field(pattern=LICENSE)]  # SPDX
Timestamp = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_existing),
]


def _printable(value: str) -> str:
    if character := text.hidden(value):
        raise ValueError(f"{character} is not printable")
    return value


Printable = Annotated[str, AfterValidator(_printable)]
"""A member that people read."""


class Document(BaseModel):
    """A pydantic model for canonical JSON: no floats (decimals are strings), no unknown members, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def first_problem(exc: ValidationError) -> str:
    """The first problem that pydantic found, as `place: rule`; never the offending value."""
    problem = exc.errors(include_url=False, include_input=False)[0]
    return f"{_place(problem['loc'])}: {problem['msg']}"


def first_problem_of_settings(exc: ValidationError, settings: type[BaseModel]) -> str:
    """The same for a file that people write: an unknown setting comes with the nearest that there is."""
    problems = exc.errors(include_url=False, include_input=False)
    unknown = next((problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"), None)
    if unknown is None:
        return first_problem(exc)
    *table, name = map(str, unknown)  # counts before a setting that is missing: that may be the one that was meant
    beside = ".".join([*table, ""])
    # names are looked for in every table, and one of the same table counts most
    places = sorted(dotted(settings), key=lambda place: place.startswith(beside) and "." not in place[len(beside) :])
    by_name = {place.rpartition(".")[2]: place for place in places}
    closest = nearest(name, by_name)
    return f"{_place(unknown)}: there is no such setting" + (f"; the nearest is {by_name[closest]}" if closest else "")


def dotted(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The names of all settings as a file has them, tables too: `name`, `table`, `table.name`."""
    for name, field in settings.model_fields.items():
        place = f"{prefix}{field.alias or name}"
        yield place
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from dotted(field.annotation, f"{place}.")


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(_shown(part) for part in parts) or "document"


def _shown(part: int | str) -> str:
    """A part of a place: the name of a member that does not belong there is the other side's own text."""
    return text.shown(str(part)[:64])
