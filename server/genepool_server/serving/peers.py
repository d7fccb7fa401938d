"""Who a request is for, as far as fairness goes: gates share their places between peers, not between requests."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Peer:
    """One who takes places: a site with a certificate, or an address without one.

    Attributes:
        name: the site, or the address (of IPv6 the first 64 bits, which one customer has).
        certified: whether a certificate vouches for the name.
    """

    name: str
    certified: bool


HOUSE: Final = Peer("", certified=True)
"""The pool itself and the operator: no share binds them."""

CURRENT: Final[ContextVar[Peer]] = ContextVar("genepool_peer", default=HOUSE)
"""Whose call the running task answers; the front sets it when a call comes."""
