"""Which code runs at this site, for receipts: stale code in a campaign is seen at once."""

import functools
import hashlib
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("genepool_protocol", "genepool_client")


@functools.cache
def code_identity() -> str:
    """Version of genepool, and 16 hex digits over every Python file that a site may run: `0.1.0+89ab...`."""
    hasher = hashlib.sha256()
    for package in _PACKAGES:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*.py")):
            name, content = f"{package}/{path.relative_to(root).as_posix()}".encode(), path.read_bytes()
            hasher.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return f"{version('genepool')}+{hasher.hexdigest()[:16]}"
