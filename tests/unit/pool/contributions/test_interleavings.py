"""Whatever order sites, crashes and restarts come in: nothing acknowledged is lost, and the folder stays sound."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.trust import envelope, receipt
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import examine
from tests.support import sites as c

STALE = {"SEQ_CONFLICT", "NONCE_INVALID", "UPLOAD_UNKNOWN", "TOO_MANY_UPLOADS", "PREV_MISMATCH"}
"""What an upload may hear that another one of its site overtook."""


class Play:
    """Two sites, several uploads each, one pool that crashes; every step is a method that takes a number."""

    def __init__(self, root, template, sites):
        self.root, self.sites, self.lives = root, sites, 0
        self.rng = np.random.default_rng(0)
        self.packed, self.leases, self.acknowledged = [], {}, {}
        self.folder = root / "life-0"
        shutil.copytree(template, self.folder)
        self.pool = OpenPool.open(self.folder)
        self.sign(0)

    def sign(self, n):
        weights = c.weights_of(self.pool.blueprint(c.BLUEPRINT).blueprint, self.rng)
        self.packed.append(self.sites[n % 2].pack(self.pool, weights))
        self.begin(n)

    def begin(self, n):
        packed = self.any(n)
        with allowed(STALE):
            begun = self.pool.contributions.intake.begin(packed.bundle, packed.manifest, c.NOW)
            assert begun.already_logged or packed.upload_id not in self.acknowledged
            if not begun.already_logged:
                self.leases[packed.upload_id] = self.pool.contributions.intake.spool.lease(packed.upload_id)

    def send_some(self, n):
        packed = self.any(n)
        with allowed({"OFFSET", "UPLOAD_SUPERSEDED", "UPLOAD_UNKNOWN"}):
            offset = self.pool.contributions.intake.status(packed.upload_id)[0] + (n % 5 == 0)
            chunk = packed.weights[offset : offset + 300 * n]
            self.pool.contributions.intake.spool.append(
                packed.upload_id, offset, chunk, self.leases.get(packed.upload_id, 0)
            )

    def send_the_rest(self, n):
        with allowed(STALE):
            c.upload(self.pool, self.any(n), chunk=1500)

    def commit(self, n):
        packed = self.any(n)
        with allowed(STALE | {"UPLOAD_INCOMPLETE"}):
            if n % 4:
                c.upload(self.pool, packed)
            self.acknowledge(packed, self.pool.contributions.intake.commit(packed.upload_id, c.NOW))

    def commit_while_suspended(self, n):
        packed, before = self.any(n), len(self.pool.contributions.all())
        for site in self.sites:
            self.pool.sites.suspend(site.name)
        with allowed(STALE | {"UPLOAD_INCOMPLETE", "SITE_NOT_ACTIVE"}):
            self.acknowledge(packed, self.pool.contributions.intake.commit(packed.upload_id, c.NOW))
        assert len(self.pool.contributions.all()) == before
        for site in self.sites:
            self.pool.sites.approve(site.name)

    def restart(self, _):
        self.pool.close()
        self.pool = OpenPool.open(self.folder)

    def crash(self, _):
        """What a killed process leaves is what lies in its files: a copy of them is a pool after `kill -9`."""
        self.lives += 1
        copy = self.root / f"life-{self.lives}"
        shutil.copytree(self.folder, copy)
        self.pool.close()
        self.folder, self.pool = copy, OpenPool.open(copy)

    def any(self, n):
        return self.packed[-1 - n % min(4, len(self.packed))]

    def acknowledge(self, packed, done):
        site = next(site for site in self.sites if f'"site":"{site.name}"'.encode() in packed.manifest)
        bundle = envelope.parse(done.receipt)
        receipt.verify(bundle, envelope.verify(bundle, site.key.public), self.pool.log.keys)
        assert self.acknowledged.setdefault(packed.upload_id, done.receipt) == done.receipt

    def check(self):
        for upload_id, raw in self.acknowledged.items():
            assert self.pool.contributions.get(upload_id).receipt == raw
        assert len(self.pool.contributions.all()) == len(self.acknowledged)


class allowed:  # noqa: N801 - reads like pytest.raises
    """Refusals with these reasons, and no others."""

    def __init__(self, reasons):
        self.reasons = reasons

    def __enter__(self):
        return self

    def __exit__(self, kind, exc, trace):
        return isinstance(exc, GenepoolError) and exc.reason in self.reasons


STEPS = (
    "sign",
    "begin",
    "send_some",
    "send_the_rest",
    "commit",
    "commit",
    "commit_while_suspended",
    "restart",
    "crash",
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 19)), min_size=15, max_size=30))
def test_any_order_of_steps_loses_nothing_acknowledged(template, steps):
    folder, *sites = template
    root = Path(tempfile.mkdtemp(prefix="genepool-test-"))
    play = Play(root, folder, sites)
    try:
        for name, n in steps:
            getattr(play, name)(n)
            play.check()
    finally:
        play.pool.close()
        report = examine(play.folder)
        shutil.rmtree(root)
    assert report.problems == []
