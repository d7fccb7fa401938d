"""The base of every document that is signed, hashed or handed over: frozen, strict, without unknown members."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def moment(text: str) -> datetime:
    """The time that a `Timestamp` names.

    Raises:
        ValueError: there is no such time.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def stamp(time: datetime) -> str:
    """The `Timestamp` of a time, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _existing(text: str) -> str:
    moment(text)
    return text


Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Decimal = Annotated[str, Field(pattern=r"^-?[0-9]{1,9}(\.[0-9]{1,12})?(e-?[0-9]{1,2})?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Timestamp = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_existing),
]


class Document(BaseModel):
    """A pydantic model for canonical JSON: no floats (decimals are strings), no unknown members, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def first_problem(exc: ValidationError) -> str:
    """The first problem that pydantic found, as `place: rule`; never the offending value."""
    problem = exc.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(_shown(part) for part in problem['loc']) or 'document'}: {problem['msg']}"


def _shown(part: int | str) -> str:
    """A part of a place: the name of a member that does not belong there is the other side's own text."""
    text = str(part)[:64]
    return text if text.isprintable() else ascii(text)
