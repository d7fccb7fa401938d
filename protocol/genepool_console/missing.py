"""A package that only some roles need, and that is not there: which extra brings it, as genepool's own metadata say."""

import re
from importlib import metadata
from typing import Final

from genepool_protocol.wire.errors import InvalidInput

_DISTRIBUTIONS: Final = {
    "PIL": "pillow",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
}
"""Packages whose distributions are called otherwise."""

_EXTRAS: Final = {"genepool": ("consumer", "site", "all"), "genepool-server": ("operator", "server", "all")}
"""Program -> extras that it is used with, the smallest first."""

_LINE: Final = re.compile(r"([\w.-]+).*\bextra == ['\"]([\w-]+)['\"]")


def missing_extra(exc: ImportError, program: str) -> InvalidInput | None:
    """What to tell of a failed import; None when no extra brings the package: then it is a defect.

    Args:
        exc: the failure.
        program: name of the console script.
    """
    package = (exc.name or "").partition(".")[0]
    distribution = _DISTRIBUTIONS.get(package, package.replace("_", "-"))
    extras = [extra for extra in _EXTRAS[program] if (distribution, extra) in _brought()]
    if not extras:
        return None
    choice = f"pip install 'genepool[{extras[0]}]'"
    more = "" if extras[0] == "all" else f", or the extra {' or '.join(extras[1:])}"
    return InvalidInput("DEPENDENCY_MISSING", f"this needs {package}, which is not installed", choice + more)


def _brought() -> set[tuple[str, str]]:
    """Each distribution with each extra that brings it."""
    try:
        lines = metadata.requires("genepool") or []
    except metadata.PackageNotFoundError:  # a checkout that is only on the path
        return set()
    return {(match[1], match[2]) for match in map(_LINE.match, lines) if match}
