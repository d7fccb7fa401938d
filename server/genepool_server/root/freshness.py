"""While a server runs: the trust root is signed anew in time, and the operator hears what ends soon."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from securesystemslib.signer import Signer

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.root.repository import Repository
from genepool_server.root.settling import online_key

_log = logging.getLogger(__name__)

_EVERY: Final = 60.0  # seconds between two looks
_SOON: Final = timedelta(days=30)


class Freshness:
    """A task on the server's loop; made by `start`.

    Args:
        repository: what is kept fresh.
        key: the one that its root names for that.
    """

    def __init__(self, repository: Repository, key: Signer) -> None:
        self._repository, self._key = repository, key
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, place: PoolFolder) -> Self:
        """Sign what is due now, and go on doing so.

        Raises:
            GenepoolError: as `online_key` and `Repository.refresh`.
        """
        freshness = cls(Repository(place.trust), await asyncio.to_thread(online_key, place))
        await asyncio.to_thread(freshness.look, datetime.now(UTC))
        freshness._task = asyncio.create_task(freshness._work())
        return freshness

    def look(self, now: datetime) -> None:
        """One look.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        self._repository.refresh([self._key], now)
        ends = {"root": self._repository.root().signed.expires, "targets": self._repository.targets().expires}
        for name, end in ends.items():
            if end - now < _SOON:
                _log.warning("the trust root's %s ends at %s: genepool-server root publish", name, end)

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await asyncio.to_thread(self.look, datetime.now(UTC))
            except (GenepoolError, OSError):
                _log.exception("the trust root could not be kept fresh")  # a full disk may be empty again in a minute
