"""What one site may take of a pool: how many contributions a day, how much of the spool."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from genepool_protocol.wire.errors import Unavailable
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.store.registry_schema import usage


@dataclass(frozen=True, slots=True)
class Quotas:
    """The shares of one site.

    Attributes:
        contributions_per_day: accepted ones between two midnights (UTC).
        spool_bytes: of its unfinished uploads together.
        open_uploads: how many unfinished ones there may be.
    """

    contributions_per_day: int = sys.maxsize
    spool_bytes: int = sys.maxsize
    open_uploads: int = LIMITS.open_uploads


def check_day(tx: Connection, quotas: Quotas, site: str, now: datetime) -> None:
    """Refuse a site whose contributions of the day are used up.

    Raises:
        Unavailable: QUOTA_EXCEEDED, with the seconds until midnight.
    """
    day = now.astimezone(UTC)
    row = tx.execute(select(usage).where(usage.c.site == site, usage.c.day == f"{day:%Y-%m-%d}")).one_or_none()
    if row is not None and row.contributions >= quotas.contributions_per_day:
        midnight = day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        raise Unavailable(
            "QUOTA_EXCEEDED",
            f"the site {site} has contributed {row.contributions} learngenes today, which is what the pool takes a day",
            f"submit again after {midnight:%Y-%m-%d %H:%M} UTC",
            retry_seconds=str(int((midnight - day).total_seconds()) + 1),
        )


def count(tx: Connection, site: str, now: datetime) -> None:
    """One more contribution of the day; those of other days are forgotten."""
    day = f"{now.astimezone(UTC):%Y-%m-%d}"
    tx.execute(usage.delete().where(usage.c.site == site, usage.c.day != day))
    more = update(usage).where(usage.c.site == site).values(contributions=usage.c.contributions + 1)
    if tx.execute(more).rowcount == 0:
        tx.execute(insert(usage).values(site=site, day=day, contributions=1))
