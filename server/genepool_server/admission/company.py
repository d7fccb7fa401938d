"""Who judges a contribution, as a value: the confined child loads this, and no database."""

from dataclasses import dataclass

from genepool_server.admission.copies import WithdrawnSketch
from genepool_server.records import Contribution


@dataclass(frozen=True, slots=True)
class Company:
    """What a contribution is reviewed against.

    Attributes:
        active: every active one of its blueprint, in the order in which they judge it.
        withdrawn: every withdrawn one of its blueprint, in the order of the log.
        salt: of sketches.
    """

    active: list[Contribution]
    withdrawn: list[WithdrawnSketch]
    salt: bytes
