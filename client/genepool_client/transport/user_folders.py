"""Where this user's settings and caches lie: the folders of the XDG base directories, on every system."""

from pathlib import Path

from platformdirs.unix import Unix

from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput

_XDG = Unix("genepool")  # named, since another system's own folders would leave behind what its users have by now


def home() -> Path:
    """What is remembered of pools: $GENEPOOL_HOME, or `genepool` in the user's config folder.

    Raises:
        InvalidInput: CONFIG_INVALID, this user has no home, as many users of containers.
    """
    return Path(variables.HOME.get() or _folder("user_config_dir", "the pools that it knows", variables.HOME.name))


def default_cache() -> Path:
    """Verified blueprints and thin slices: $GENEPOOL_CACHE, or `genepool` in the user's cache folder.

    Raises:
        InvalidInput: as `home`.
    """
    return Path(variables.CACHE.get() or _folder("user_cache_dir", "what it downloaded", variables.CACHE.name))


def _folder(kind: str, what: str, variable: str) -> str:
    try:
        return str(getattr(_XDG, kind))
    except RuntimeError as exc:  # neither HOME nor an entry in the system's list of users
        raise InvalidInput(
            "CONFIG_INVALID",
            f"genepool keeps {what} in the user's home, and this user has none",
            f"set {variable} to a folder of this user's own, or HOME",
        ) from exc
