"""Where a pool keeps its ledger and its weights: in its folder, or in a database and a bucket that others can reach.

What stays in the folder in any case: keys, blueprints, settings, unfinished uploads, the log's tiles, the lock store,
and the local copies of the weights.
"""

from dataclasses import dataclass

from genepool_server.pool.store.blobs import Blobs, FolderBlobs
from genepool_server.pool.store.database import Database
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.sqlite import Sqlite


@dataclass(frozen=True, slots=True)
class Storage:
    """Two addresses without secrets.

    Attributes:
        ledger: `postgresql://...`; empty: a SQLite file in the folder.
        blobs: `s3://...`; empty: a folder in the folder.
    """

    ledger: str = ""
    blobs: str = ""

    def check(self) -> None:
        """Refuse addresses that are none.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        if self.ledger:
            from genepool_server.pool.store import postgres

            postgres.check_url(self.ledger)
        if self.blobs:
            from genepool_server.pool.store import s3

            s3.BucketAddress.parse(self.blobs)

    def database(self, place: PoolFolder) -> Database:
        """The ledger's place.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        if not self.ledger:
            return Sqlite(place.ledger)
        from genepool_server.pool.store.postgres import Postgres

        return Postgres(self.ledger)

    def store(self, place: PoolFolder) -> Blobs:
        """The weights' place.

        Raises:
            InvalidInput: OPTION_INVALID.
            Unavailable: STORE_UNAVAILABLE.
        """
        if not self.blobs:
            return FolderBlobs(place.blobs)
        from genepool_server.pool.store.s3 import S3Blobs

        return S3Blobs(self.blobs, place.cache)


HERE = Storage()
"""Everything in the folder."""
