"""Why a site did not contribute, as the campaign may hear it: one of few codes, each with one constant sentence.

A bundle that a site's people accepted can raise whichever it likes, so a code is worth three bits to it, and no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from flwr.common.constant import ErrorCode

from genepool_protocol.wire.errors import (
    GenepoolError,
    InvalidInput,
    NotFound,
    Refused,
    StorageError,
    Unavailable,
    VerificationError,
)


@dataclass(frozen=True, slots=True)
class SiteFailure:
    """A kind of failure.

    Attributes:
        code: of Flower's error; Flower's own are below 1000.
        sentence: its text.
    """

    code: int
    sentence: str


_LOG: Final = "; the site's own log says why"
FAILED: Final = SiteFailure(1000, f"the site could not contribute{_LOG}")
GUARDED: Final = SiteFailure(1001, f"the site's egress guard refused the reply{_LOG}")
UNREACHABLE: Final = SiteFailure(1002, f"the site cannot reach the pool{_LOG}")
NOT_TAKEN: Final = SiteFailure(1003, f"the pool did not take the site's contribution{_LOG}")
UNUSABLE: Final = SiteFailure(1004, f"the site's images or settings cannot be used{_LOG}")
UNPINNED: Final = SiteFailure(1005, "the site has not accepted the campaign's app bundle (site run --allow-fab)")
IN_USE: Final = SiteFailure(1006, "another command is at work in the site's folder")
NO_DISK: Final = SiteFailure(1007, f"the site's disk is full, or fails{_LOG}")
UNTRUSTED: Final = SiteFailure(1008, f"the site does not trust what the pool answered{_LOG}")

ALL: Final[Mapping[int, SiteFailure]] = MappingProxyType(
    {
        failure.code: failure
        for failure in (FAILED, GUARDED, UNREACHABLE, NOT_TAKEN, UNUSABLE, UNPINNED, IN_USE, NO_DISK, UNTRUSTED)
    }
)

_BY_REASON: Final[Mapping[str, SiteFailure]] = MappingProxyType(
    {"FOLDER_IN_USE": IN_USE, "DATA_CHANGED": UNUSABLE, "FILE_MISSING": UNUSABLE, "PRIVACY_SHRINKS": UNUSABLE}
)
_BY_KIND: Final[tuple[tuple[type[Exception], SiteFailure], ...]] = (
    (InvalidInput, UNUSABLE),
    (Unavailable, UNREACHABLE),
    (Refused, NOT_TAKEN),
    (NotFound, NOT_TAKEN),
    (VerificationError, UNTRUSTED),
    (StorageError, NO_DISK),
    (OSError, NO_DISK),
)


def of(exc: Exception) -> SiteFailure:
    """The failure that an exception is told as."""
    if isinstance(exc, GenepoolError) and exc.reason in _BY_REASON:
        return _BY_REASON[exc.reason]
    return next((failure for kind, failure in _BY_KIND if isinstance(exc, kind)), FAILED)


def of_code(code: int) -> SiteFailure:
    """The failure that an error of a ClientApp, or of Flower itself, is told as."""
    return UNPINNED if code == ErrorCode.INVALID_FAB else ALL.get(code, FAILED)
