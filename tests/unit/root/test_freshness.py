"""A running server signs its trust root anew in time, and says what its operator must renew."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_server.root.freshness import Freshness
from genepool_server.root.repository import TARGETS_LIFE
from tests.support.trust import TrustRoot, trusted

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def root(tmp_path):
    content = trusted(LogSigner.generate("pool.test/log").public, SigningKey.generate().public)
    return TrustRoot(tmp_path / "root", content, NOW)


@pytest.fixture
def freshness(root):
    return Freshness(root.repository, root.online)


def ends(root):
    return root.repository.timestamp().expires - NOW, root.repository.snapshot().expires - NOW


def test_nothing_is_written_before_half_of_a_life_is_over(root, freshness):
    before = root.files()
    freshness.look(NOW + timedelta(minutes=29))
    assert root.files() == before


def test_a_timestamp_lives_on_and_a_snapshot_too(root, freshness):
    freshness.look(NOW + timedelta(minutes=31))
    assert ends(root) == (timedelta(minutes=91), timedelta(days=1))
    freshness.look(NOW + timedelta(hours=13))
    assert ends(root) == (timedelta(hours=14), timedelta(hours=37))
    assert root.repository.trusted() == root.content


def test_what_was_signed_under_a_wrong_clock_is_signed_again(root, freshness):
    root.repository.refresh([root.online], NOW + timedelta(days=2), force=True)
    freshness.look(NOW)
    assert ends(root)[0] == timedelta(hours=1)


def test_the_operator_hears_in_time_what_only_he_can_renew(root, freshness, caplog):
    with caplog.at_level(logging.WARNING):
        freshness.look(NOW + TARGETS_LIFE - timedelta(days=31))
        assert caplog.text == ""
        freshness.look(NOW + TARGETS_LIFE - timedelta(days=29))
    assert "targets ends at" in caplog.text
    assert "root publish" in caplog.text


def test_a_full_disk_is_waited_out(root, freshness, caplog, monkeypatch):
    from genepool_protocol.wire.errors import StorageError
    from genepool_server.root import freshness as module

    looks = []

    async def play():
        again, loop = asyncio.Event(), asyncio.get_running_loop()

        def look(_now):
            looks.append(1)
            if len(looks) == 1:
                raise StorageError("DISK_FULL", "there is no room")
            loop.call_soon_threadsafe(again.set)

        monkeypatch.setattr(module, "_EVERY", 0.0)
        monkeypatch.setattr(freshness, "look", look)
        freshness._task = asyncio.create_task(freshness._work())
        await again.wait()
        await freshness.stop()

    asyncio.run(play())
    assert "could not be kept fresh" in caplog.text
