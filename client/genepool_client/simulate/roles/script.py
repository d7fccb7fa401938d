"""Who plays what: a scenario file in TOML, or options; nothing in it is guessed.

[[site]]
name = "digits"        # or place = 2: as the report lists them, from 0
plays = "crash"
at = "condense"
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genepool_client.site.contribution import STAGES
from genepool_protocol.wire.documents import first_problem_of_settings
from genepool_protocol.wire.errors import InvalidInput

Plays = Literal["honest", "straggler", "crash", "outage", "leak", "poison", "withdraw", "rejoin"]

ROLES: Final[dict[str, frozenset[str]]] = {
    "honest": frozenset(),
    "straggler": frozenset({"slower"}),
    "crash": frozenset({"at", "back"}),
    "outage": frozenset({"at", "seconds"}),
    "leak": frozenset(),
    "poison": frozenset(),
    "withdraw": frozenset(),
    "rejoin": frozenset(),
}
"""Every role, with the members that it takes."""

EVERY: Final = "every"
_HEAD: Final = re.compile(r"^\s*\[\[\s*site\s*\]\]")
_SYNTAX: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)")


class Role(BaseModel):
    """What one site plays.

    Attributes:
        name: of the site, as the report lists it.
        place: of the site in that list, from 0, where it is not named.
        plays: the role.
        at: the stage (a key of `STAGES`) in which it happens; `every`: a crash in each of them, one after the other.
        back: whether a site that crashed is started again.
        seconds: that the network is away.
        slower: how many times as long everything takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str | None = None
    place: Annotated[int, Field(ge=0)] | None = None
    plays: Plays
    at: Literal["ask", "read", "train", "condense", "submit", "every"] | None = None
    back: bool = True
    seconds: Annotated[float, Field(gt=0, le=3600)] = 20.0
    slower: Annotated[float, Field(ge=1, le=1000)] = 20.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.name is None) == (self.place is None):
            raise ValueError("a site is named by name or by place, and by one of them")
        foreign = self.model_fields_set - {"name", "place", "plays"} - ROLES[self.plays]
        if foreign:
            raise ValueError(f"the role {self.plays} takes no {min(foreign)}")
        if self.at == EVERY and self.plays != "crash":
            raise ValueError("only a crash happens at every stage")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """In which stages it happens: keys of `STAGES`, in their order."""
        usual = {"crash": "train", "outage": "submit"}.get(self.plays)
        stage = self.at or usual
        return tuple(STAGES) if stage == EVERY else (stage,) if stage else ()

    def __str__(self) -> str:
        """`crash at condense`, as a report says it."""
        told = {
            "straggler": f" ({self.slower:g} times slower)",
            "crash": f" at {', '.join(self.stages)}{'' if self.back else ', never back'}",
            "outage": f" of {self.seconds:g} s at {', '.join(self.stages)}",
        }
        return self.plays + told.get(self.plays, "")


class Script(BaseModel):
    """A scenario file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    site: list[Role] = Field(default_factory=list)


def read_script(path: Path) -> list[Role]:
    """The roles of a scenario file.

    Raises:
        InvalidInput: PATH_MISSING; CONFIG_INVALID, with line, column and member.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput("PATH_MISSING", f"the scenario {path} cannot be read as UTF-8", "check --scenario") from exc
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidInput("CONFIG_INVALID", f"{path}{_syntax(str(exc))}", "mend that line") from exc
    try:
        return Script.model_validate(values).site
    except ValidationError as exc:
        line, column = _position(text, _first_place(exc))
        raise InvalidInput(
            "CONFIG_INVALID",
            f"{path}, line {line}, column {column}: {_told(exc)}",
            "the roles and their members are on the page about simulations",
        ) from exc


def parse_play(text: str) -> Role:
    """The role in an option: `SITE=ROLE[,MEMBER=VALUE...]`, SITE a name or a place from 0.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    site, _, rest = text.partition("=")
    plays, *members = rest.split(",")
    values: dict[str, Any] = {"place": int(site)} if site.isdecimal() else {"name": site}
    values["plays"] = plays
    for member in members:
        name, _, value = member.partition("=")
        values[name] = _value(value)
    try:
        return Role.model_validate(values)
    except ValidationError as exc:
        raise InvalidInput(
            "OPTION_INVALID", f"--play {text!r}: {_told(exc)}", f"SITE=ROLE, and ROLE is one of {', '.join(ROLES)}"
        ) from exc


def cast_roles(roles: Sequence[Role], names: Sequence[str]) -> dict[int, Role]:
    """The roles by the sites' places; who is not among them is honest.

    Raises:
        InvalidInput: OPTION_INVALID, there is no such site, or it has two roles.
    """
    out: dict[int, Role] = {}
    for role in roles:
        if (role.name is not None and role.name not in names) or (role.place is not None and role.place >= len(names)):
            raise InvalidInput(
                "OPTION_INVALID",
                f"no site {role.name if role.name is not None else role.place} plays here",
                f"the sites are 0 to {len(names) - 1}: {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}",
            )
        place = role.place if role.place is not None else names.index(str(role.name))
        if place in out:
            raise InvalidInput("OPTION_INVALID", f"the site {names[place]} has two roles", "give it one")
        out[place] = role
    return {place: role for place, role in out.items() if role.plays != "honest"}


def _value(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _told(exc: ValidationError) -> str:
    """The first problem, without pydantic's own beginning of a sentence."""
    return first_problem_of_settings(exc, Role).replace("Value error, ", "")


def _first_place(exc: ValidationError) -> tuple[int | str, ...]:
    problems = exc.errors(include_url=False, include_input=False)
    unknown = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"]
    return (unknown or [problem["loc"] for problem in problems])[0]


def _position(text: str, place: tuple[int | str, ...]) -> tuple[int, int]:
    """Line and column, from 1, of a member of a scenario: of its table where the member is not written."""
    lines = text.splitlines() or [""]
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    if len(place) < 2 or not isinstance(place[1], int) or place[1] >= len(heads):
        return _member(lines, 0, len(lines), str(place[0]) if place else "") or (1, 1)
    begin = heads[place[1]]
    end = heads[place[1] + 1] if place[1] + 1 < len(heads) else len(lines)
    member = _member(lines, begin, end, str(place[2])) if len(place) > 2 else None
    return member or (begin + 1, lines[begin].index("[") + 1)


def _member(lines: Sequence[str], begin: int, end: int, name: str) -> tuple[int, int] | None:
    pattern = re.compile(rf"^(\s*)[\"']?{re.escape(name)}[\"']?\s*=")
    for number in range(begin, end):
        match = pattern.match(lines[number])
        if match:
            return number + 1, len(match[1]) + 1
    return None


def _syntax(message: str) -> str:
    match = _SYNTAX.fullmatch(message)
    return f", line {match['line']}, column {match['column']}: {match['what']}" if match else f": {message}"
