"""A history with contributions that were withdrawn leaves the pool that the history without them leaves, to the byte.

What is compared is everything that a consumer can get: listings, keys, snapshot and selection of TALS, thin slices,
descendants. The place of a contribution in the log, and with it its receipt, is not part of it: the log remembers.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.learngene import manifest as manifests
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.trust import envelope, events
from genepool_server.app import start_workers
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import examine
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.service import Serving
from tests.support import sites as c
from tests.support.serving import collect, nothing

SITES = 3
EACH = 2


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A pool's folder with three sites, and two signed contributions of each, which no history has used yet."""
    folder, rng = tmp_path_factory.mktemp("origin"), np.random.default_rng(4)
    with OpenPool.open(c.make_pool(folder)) as pool:
        joined = [c.join(pool, f"site-{n}") for n in range(SITES)]
        blueprint = pool.blueprint(c.BLUEPRINT).blueprint
        shutil.copytree(folder / "pool", folder / "scratch")
        packed = {}
        with OpenPool.open(folder / "scratch") as scratch:  # to sign the second one, the first must have been accepted
            for n, site in enumerate(joined):
                for seq in range(EACH):
                    nothing_seen = manifests.Observed(size=0, root="")
                    made = site.pack(scratch, c.weights_of(blueprint, rng), observed=nothing_seen)
                    c.submit(scratch, made)
                    packed[n, seq] = made
    return folder / "pool", joined, packed


class World:
    """A copy of the pool that lives through a history."""

    def __init__(self, origin):
        folder, self.sites, self.packed = origin
        self.root = Path(tempfile.mkdtemp(prefix="genepool-test-"))
        self.folder = self.root / "pool"
        shutil.copytree(folder, self.folder)
        self.pool = OpenPool.open(self.folder)
        self.serving, self.loop = None, asyncio.new_event_loop()

    def contribute(self, n, seq):
        c.submit(self.pool, self.packed[n, seq], chunk=3000)

    def withdraw(self, n, seq):
        name = self.packed[n, seq].upload_id
        event = events.Withdrawal(
            pool=self.pool.origin,
            time="2026-07-01T12:00:00Z",
            contribution_id=name,
            sha256=self.pool.contributions.get(name).sha256,
        )
        self.pool.contributions.withdrawals.withdraw(envelope.sign_statement(self.sites[n].key, event.payload()))

    def stop_serving(self):
        if self.serving is not None:
            self.serving.close()
            self.serving = None

    def restart(self):
        self.stop_serving()
        self.pool.close()
        self.pool = OpenPool.open(self.folder)

    def seen(self):
        """Everything that a consumer can get from the pool, whose serving runs on and remembers what it mapped."""
        if self.serving is None:
            self.serving = Serving.start(ServingConfig(workers=0, slots=1), self.pool, start_workers)
        return self.loop.run_until_complete(self._seen(self.serving, self.pool))

    def seen_of(self, view):
        """The same of another view, by a serving of its own."""
        serving = Serving.start(ServingConfig(workers=0, slots=1), view, start_workers)
        try:
            return self.loop.run_until_complete(self._seen(serving, view))
        finally:
            serving.close()

    async def _seen(self, serving, pool):
        live = c.active(pool)
        listed = [(one.contribution_id, one.site, one.license, one.sha256, one.images, one.manifest) for one in live]
        found = await collect(serving.embeddings(c.BLUEPRINT, ()))
        keys = [(one.contribution_id, key.mean.tobytes()) for one, key in found]
        names = [one.contribution_id for one in live]
        thin = await collect(serving.thin(c.BLUEPRINT, names))
        labels = np.arange(12) % 3
        pixels = np.random.default_rng(3).integers(0, 255, (12, 16, 16, 3)).astype(np.uint8)
        selection = await serving.select(c.BLUEPRINT, pixels, labels, (), nothing) if live else None
        weights = [(name, 300) for name in names]
        async with await serving.descend(c.BLUEPRINT, weights, Budget(size=Size(3, 2))) as descent:
            model = b"".join([bytes(chunk) for chunk in await collect(descent.chunks(0))])
        blobs = {path.name: path.read_bytes() for path in (self.folder / "blobs").rglob("*") if path.is_file()}
        return listed, keys, thin, selection, model, blobs

    def close(self):
        self.stop_serving()
        self.loop.close()
        self.pool.close()
        report = examine(self.folder)
        shutil.rmtree(self.root)
        assert report.problems == report.notes == []


def history(draw):
    """Steps, and how many contributions of each site live in the end: a withdrawn one has no later one that lives."""
    lives = [draw(st.integers(0, EACH)) for _ in range(SITES)]
    made = [draw(st.integers(live, EACH)) for live in lives]
    waiting = {n: [("contribute", n, seq) for seq in range(made[n])] for n in range(SITES)}
    gone = {n: list(range(lives[n], made[n])) for n in range(SITES)}
    steps, there = [], set()
    while any(waiting.values()) or any(gone.values()):
        choices = [waiting[n][0] for n in range(SITES) if waiting[n]]
        choices += [("withdraw", n, seq) for n in range(SITES) for seq in gone[n] if (n, seq) in there]
        step = draw(st.sampled_from(choices))
        steps.append(step)
        verb, n, seq = step
        if verb == "contribute":
            waiting[n].pop(0)
            there.add((n, seq))
        else:
            gone[n].remove(seq)
        if draw(st.booleans()) and draw(st.booleans()):
            steps.append(("restart",))
    return steps, lives


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_history_with_withdrawals_equals_the_one_without_byte_for_byte(origin, data):
    steps, lives = history(data.draw)
    world, other = World(origin), World(origin)
    try:
        for verb, *arguments in steps:
            getattr(world, verb)(*arguments)
        for n in reversed(range(SITES)):
            for seq in range(lives[n]):
                other.contribute(n, seq)
        assert world.seen() == other.seen()
    finally:
        world.close()
        other.close()


class OnlyThese:
    """A pool's read side that never knew of anything but these contributions, whose weights lie in a folder."""

    def __init__(self, pool, ids, folder, weights):
        self.blueprints, self.blueprint, self.contributions = pool.blueprints, pool.blueprint, self
        self._found = {}
        for name in sorted(ids):
            found = pool.contributions.get(name)
            (folder / found.sha256).write_bytes(weights[name])
            self._found[name] = replace(found, path=folder / found.sha256)

    def active(self, _blueprint, _licences):
        return list(self._found.values())

    def active_page(self, _blueprint, _licences, after, count):
        return [found for name, found in self._found.items() if name > after][:count]

    def active_count(self, _blueprint):
        return len(self._found)

    def active_digests(self, _blueprint):
        return {found.sha256 for found in self._found.values()}

    def get(self, name):
        return self._found[name]


@settings(max_examples=8, deadline=None)
@given(kept=st.sets(st.tuples(st.integers(0, SITES - 1), st.integers(0, EACH - 1))), late=st.booleans())
def test_what_a_pool_gives_is_a_function_of_the_live_contributions_alone(origin, kept, late):
    """Any subset may be withdrawn, also one whose site contributed later ones that name it as their predecessor."""
    world = World(origin)
    everything = [(n, seq) for n in range(SITES) for seq in range(EACH)]
    try:
        for n, seq in everything:
            world.contribute(n, seq)
            if not late and (n, seq) not in kept:
                world.withdraw(n, seq)
        if late:
            world.seen()  # whatever serving keeps in memory of those that go
            for n, seq in reversed(everything):
                if (n, seq) not in kept:
                    world.withdraw(n, seq)
        folder = world.root / "elsewhere"
        folder.mkdir()
        weights = {world.packed[one].upload_id: world.packed[one].weights for one in kept}
        view = OnlyThese(world.pool, weights, folder, weights)
        assert world.seen() == world.seen_of(view)
        assert set(world.seen()[-1]) == {world.pool.contributions.get(name).sha256 for name in weights}
    finally:
        world.close()
