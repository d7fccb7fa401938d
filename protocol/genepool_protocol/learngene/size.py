"""The size of a descendant, and budgets that choose one.

A size is a depth (layers) and a number of heads (the first ones of the blueprint; the head dimension is constant).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Self

from genepool_protocol.wire.errors import InvalidInput

_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_AMOUNT: Final = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([kmg]i?)?(b?)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Depth in layers, width in heads."""

    depth: int
    heads: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`"6,2"` is six layers of two heads.

        Raises:
            InvalidInput: OPTION_INVALID, the text is not two positive integers.
        """
        match = re.fullmatch(r"\s*(\d{1,4})\s*,\s*(\d{1,4})\s*", text)
        if not match or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
            raise InvalidInput("OPTION_INVALID", f"the size {text!r} is not DEPTH,HEADS", "write for instance 6,2")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.depth},{self.heads}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a consumer asks for: a size, or the largest one within so many parameters or bytes (one of the three)."""

    size: Size | None = None
    max_params: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.size, self.max_params, self.max_bytes)) != 1:
            raise InvalidInput(
                "OPTION_INVALID", "a descendant needs exactly one of size, max_params and max_bytes", "give one of them"
            )


def parse_amount(text: str | int) -> int:
    """`"1M"` is 1,000,000, `"2MiB"` is 2,097,152; a number stays what it is.

    Raises:
        InvalidInput: OPTION_INVALID, not a positive amount.
    """
    match = _AMOUNT.fullmatch(str(text))
    value = int(Decimal(match[1]) * _UNITS[_unit(match)]) if match else 0
    if value < 1:
        raise InvalidInput(
            "OPTION_INVALID", f"{text!r} is not a positive amount", "write for instance 900k, 1M or 2MiB"
        )
    return value


def _unit(match: re.Match[str]) -> str:
    unit = (match[2] or "").upper()
    return unit + "B" if unit.endswith("I") else unit


def sizes(depths: tuple[int, int], heads: tuple[int, int]) -> Iterator[Size]:
    """Every size with these depths and numbers of heads, both inclusive."""
    for depth in range(depths[0], depths[1] + 1):
        for count in range(heads[0], heads[1] + 1):
            yield Size(depth, count)
