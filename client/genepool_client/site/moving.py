"""Following a pool that has another address: the pinned root says that it is the same pool."""

from pathlib import Path

from genepool_client.site.folder import SiteFolder
from genepool_client.transport.channel import Connection, check_address
from genepool_protocol.trust.anchors import Anchors, read_anchors
from genepool_protocol.wire.errors import VerificationError


def point(site: SiteFolder, pool: str) -> None:
    """Keep another address for the site's pool, after the pool has answered there under its trust root.

    Args:
        site: whose.
        pool: path of the pool's anchors (pool.json), or HOST:PORT.

    Raises:
        VerificationError: KEY_UNKNOWN, the file is another pool's; what `Connection.trusted` raises.
        InvalidInput: PATH_MISSING, JSON_MALFORMED, FILE_MALFORMED or OPTION_INVALID.
        GenepoolError: the pool does not answer there.
    """
    anchors = _moved(site.config.anchors, pool)
    with Connection(anchors, trust=site.trust) as connection:
        connection.capabilities()
    site.change(anchors=anchors.model_dump(by_alias=True))


def _moved(known: Anchors, pool: str) -> Anchors:
    if "/" not in pool and not pool.endswith(".json") and not Path(pool).is_file():
        return known.model_copy(update={"address": check_address(pool)})
    given = read_anchors(Path(pool))
    if given.root != known.root:
        raise VerificationError(
            "KEY_UNKNOWN", f"{pool} pins another root than the site does: it is of another pool", "ask the operator"
        )
    return given
