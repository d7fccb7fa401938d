"""What this user has verified of a pool's trust root, in a folder of the pool's own.

$GENEPOOL_HOME/trust/ROOT/            ROOT: the first 32 digits of the SHA-256 of the pinned root v1
$GENEPOOL_HOME/trust/ROOT/evidence/   files that were refused
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc

from genepool_client.transport.user_folders import home
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.trust_files import files_of

_OLD: Final = 600.0  # seconds after which a program that runs for long looks again


class TrustRoot:
    """A pool's trust root, as a client sees it.

    Args:
        anchors: hold the pinned root.
        parent: folder that holds a folder for each pool; in the user's settings when not given.
    """

    def __init__(self, anchors: Anchors, parent: Path | None = None) -> None:
        self._anchors = anchors
        self.folder = (parent or home() / "trust") / anchors.root_sha256[:32]
        self._found: tuple[float, Trusted] | None = None

    def cached(self) -> Trusted | None:
        """What was verified last, without asking anybody; see `updating.cached`.

        Raises:
            VerificationError: TRUST_INVALID, a file was changed.
        """
        from genepool_protocol.trust import updating  # TUF's modules take time to load

        return updating.cached(self._anchors, self.folder)

    def fresh(self, opened: grpc.Channel, timeout: float) -> Trusted:
        """What the pool says now, verified; asked again after some minutes only. See `updating.refresh`.

        Args:
            opened: to the pool.
            timeout: seconds that one file may take.

        Raises:
            VerificationError: TRUST_INVALID, TRUST_ROLLBACK, TRUST_EXPIRED or CLOCK_WRONG.
            GenepoolError: the pool cannot be reached.
        """
        if self._found is None or time.monotonic() - self._found[0] > _OLD:
            from genepool_protocol.trust import updating

            fetch = files_of(opened, self._anchors.address, timeout)
            refreshed = updating.refresh(self._anchors, self.folder, fetch, datetime.now(UTC))
            self._found = (time.monotonic(), refreshed)
        return self._found[1]
