"""Where this user's settings and caches lie: the folders of the XDG base directories, on every system."""

from pathlib import Path

from platformdirs.unix import Unix

from genepool_protocol.machine import variables

_XDG = Unix("genepool")  # named, since another system's own folders would leave behind what its users have by now


def home() -> Path:
    """What is remembered of pools: $GENEPOOL_HOME, or `genepool` in the user's config folder."""
    return Path(variables.HOME.get() or _XDG.user_config_dir)


def default_cache() -> Path:
    """Verified blueprints and thin slices: $GENEPOOL_CACHE, or `genepool` in the user's cache folder."""
    return Path(variables.CACHE.get() or _XDG.user_cache_dir)
