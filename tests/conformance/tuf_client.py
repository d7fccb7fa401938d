"""The client of TUF's conformance suite (its CLIENT-CLI.md): our own fetcher and limits, over HTTP instead of gRPC.

Run by `make tuf-conformance`; no test of ours imports it.
"""

import argparse
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timezone
from pathlib import Path
from types import SimpleNamespace

from tuf.api import exceptions
from tuf.ngclient import Updater
from tuf.ngclient._internal import trusted_metadata_set

from genepool_protocol.trust import updating
from genepool_protocol.wire.errors import NotFound

_CHUNK = 1 << 14


def fetch(url: str) -> Iterator[bytes]:
    """As `updating.Fetch`, with URLs for names."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            while chunk := answer.read(_CHUNK):
                yield chunk
    except urllib.error.HTTPError as exc:
        if exc.code in (403, 404):
            raise NotFound("FILE_MISSING", url) from exc
        raise exceptions.DownloadError(str(exc)) from exc


def set_clock() -> None:
    """Let TUF see the time that `clock/faketime` was called with."""
    given = os.environ.get("GENEPOOL_TEST_TIME")
    if given:
        time = datetime.fromisoformat(given)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        clock = SimpleNamespace(now=lambda _zone: time)
        trusted_metadata_set.datetime = SimpleNamespace(datetime=clock, timezone=timezone)


def main() -> None:
    """One command; a refusal ends with 1."""
    set_clock()
    parser = argparse.ArgumentParser()
    for option in ("--metadata-url", "--metadata-dir", "--target-dir", "--target-base-url"):
        parser.add_argument(option)
    parser.add_argument("--target-name", action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root")
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args()
    pinned = Path(given.metadata_dir) / "pinned"
    if given.command == "init":
        shutil.copyfile(given.root, pinned)
        return
    updater = Updater(
        given.metadata_dir,
        given.metadata_url,
        given.target_dir,
        given.target_base_url,
        updating._Fetcher(fetch),
        updating._CONFIG,
        bootstrap=pinned.read_bytes(),
    )
    updater.refresh()
    for name in given.target_name:
        info = updater.get_targetinfo(name)
        if info is None:
            raise SystemExit(1)
        if updater.find_cached_target(info) is None:
            updater.download_target(info)


if __name__ == "__main__":
    main()
