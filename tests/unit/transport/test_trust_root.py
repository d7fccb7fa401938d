"""A program that runs for long looks at a pool's trust root again; one that asks often does not."""

import grpc
import pytest

from genepool_client.transport import trust_root
from genepool_protocol.trust.keys import LogSigner, SigningKey
from tests.support.trust import TrustRoot, signers, trusted

FIRST = trusted(LogSigner.generate("pool.test/log").public, SigningKey.generate().public)
SECOND = signers(FIRST, release=SigningKey.generate().public)


@pytest.fixture
def root(tmp_path, monkeypatch):
    made = TrustRoot(tmp_path / "root", FIRST)
    monkeypatch.setattr(trust_root, "files_of", lambda *_: made.fetch)
    return made


def test_what_was_asked_a_moment_ago_is_not_asked_again(root, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    client = trust_root.TrustRoot(root.anchors(), tmp_path / "home")
    with grpc.insecure_channel("unused:1") as opened:
        assert client.fresh(opened, 1.0) == FIRST
        root.repository.publish(SECOND, [root.targets], root.online, datetime.now(UTC))
        assert client.fresh(opened, 1.0) == FIRST
        monkeypatch.setattr(trust_root, "_OLD", 0.0)
        assert client.fresh(opened, 1.0) == SECOND


def test_pools_keep_their_folders_apart(root, tmp_path):
    other = TrustRoot(tmp_path / "other", FIRST)
    folders = {trust_root.TrustRoot(one.anchors()).folder for one in (root, other)}
    assert len(folders) == 2
