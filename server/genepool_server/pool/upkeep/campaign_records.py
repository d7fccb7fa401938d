"""The records of campaigns in a backup, and held against the pool by fsck; a pool is whole without them."""

from collections.abc import Iterator
from pathlib import Path

from genepool_server import durable
from genepool_server.pool.rows import contribution_rows
from genepool_server.pool.sites.campaigns import CampaignRecord, Campaigns
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.pool.upkeep.fsck import Problem


def copy(source: Path, target: Path) -> None:
    """Copy the records and the nodes' public keys, not what belongs to processes: a TLS key, logs, Flower's state.

    Args:
        source: the folder of a pool's campaigns, which may be missing.
        target: the same folder of the backup.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    campaigns, copied = Campaigns(source), Campaigns(target)
    for record in campaigns.paths():
        for folder in (target, copied.files(record.stem), copied.node_keys(record.stem)):
            durable.mkdir(folder)
        _copy_file(record, target)
        for key in campaigns.node_paths(record.stem):
            _copy_file(key, copied.node_keys(record.stem))


def problems(place: PoolFolder, storage: Storage = HERE) -> Iterator[Problem]:
    """What is wrong with a pool's campaign records: damaged, or naming contributions that the ledger does not have.

    Args:
        place: the pool.
        storage: where its ledger is.

    Raises:
        Unavailable: STORE_UNAVAILABLE.
        StorageError: LEDGER_INCONSISTENT, of the ledger.
    """
    campaigns = Campaigns(place.campaigns)
    records = list(campaigns.each())  # before the ledger, which may grow meanwhile
    for path, exc in campaigns.damaged():
        yield Problem(_where(path), exc.reason, f"{exc.message}; {exc.fix}")
    with Ledger.look(storage.database(place)) as ledger, ledger.read() as tx:
        contributed = {(row.site, row.contribution_id): row.sha256 for row in contribution_rows.raw(tx)}
    for record in records:
        for site in _unknown(record, contributed):
            message = f"the contribution of {site} is not in the ledger with those bytes; put it back from a backup"
            yield Problem(_where(campaigns.path(record.id)), "LEDGER_INCONSISTENT", message)


def _unknown(record: CampaignRecord, contributed: dict[tuple[str, str], str]) -> list[str]:
    return [
        line.site
        for line in record.sites
        if line.progress == "accepted" and contributed.get((line.site, line.contribution_id)) != line.sha256
    ]


def _where(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _copy_file(path: Path, target: Path) -> None:
    with durable.translated(path):
        raw = path.read_bytes()
    durable.write(target / path.name, raw)
