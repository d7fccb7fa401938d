"""Runs a contribution while a fault waits at the n-th step, for every n; one JSON line per fault on stdout.

    python -m tests.fault.driver kill|ENOSPC|EIO contribute|publish|withdraw|review|create|open|backup|restore FOLDER

`publish` is a contribution whose leaf fills a tile of the log, `withdraw` a withdrawal whose leaf does, `review` the
review of a contribution that is quarantined.

A step is a call that changes the disk (os.mkdir, pwrite, fsync, replace, unlink), a put or delete of an object store,
or a COMMIT of the ledger. `kill` ends a forked child by SIGKILL right before the step; the others let the step fail.
This is a program of its own because it forks: the test process has threads.
"""

import errno
import json
import os
import shutil
import signal
import sys
import traceback
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import obstore
from sqlalchemy import Engine, event

from genepool_protocol.trust import envelope, events, receipt, tiles
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.admission.screens import Finding
from genepool_server.pool.contributions import uploads
from genepool_server.pool.log import tile_files
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.review_queue import ReviewPolicy, Reviews
from genepool_server.pool.store.storage import HERE
from genepool_server.pool.upkeep.fsck import examine
from genepool_server.pool.upkeep.restore import BackupSource, restore
from tests.support import sites as c

STEPS = ("mkdir", "pwrite", "fsync", "replace", "unlink")
CHUNK = 3000
tiles.WIDTH = tile_files.WIDTH = 8  # type: ignore[attr-defined]  # so that a short log fills tiles; of hashes only those of level 0
uploads.LIMITS = replace(LIMITS, fsync_bytes=4000)  # type: ignore[attr-defined]  # so that an upload syncs in between


@contextmanager
def counted(act):
    """Calls `act(number, name)` before every step; what it raises is what the step raises."""
    places = dict.fromkeys(STEPS, os) | dict.fromkeys(("put", "delete"), obstore)
    number, real = 0, {name: getattr(place, name) for name, place in places.items()}
    active = True

    def step(name, call=None, args=()):
        nonlocal number
        number += 1
        try:
            act(number, name)
        except OSError:
            if name == "pwrite":
                call(args[0], args[1][: len(args[1]) // 2], args[2])  # a full disk takes what fits
            raise

    def wrap(name):
        def called(*args, **options):
            step(name, real[name], args)
            return real[name](*args, **options)

        return called

    def commits(_):
        if active:
            step("COMMIT")

    event.listen(Engine, "commit", commits)
    for name, place in places.items():
        setattr(place, name, wrap(name))
    try:
        yield
    finally:
        active = False
        event.remove(Engine, "commit", commits)
        for name, place in places.items():
            setattr(place, name, real[name])


class Story:
    """A pool with one contribution, and a second one that is signed and not sent."""

    leaves = 0
    """Of the log, before the second one; 0: whatever there is then."""

    def __init__(self, folder, storage=HERE):
        self.folder, self.storage = folder, storage
        self.template = folder / "template"
        self.template.mkdir()
        pool_folder = c.make_pool(self.template, storage)
        self.rng = np.random.default_rng(5)
        with OpenPool.open(pool_folder, storage) as pool:
            self.site = c.join(pool, "site-a")
            c.join(pool, "site-b")
            self.first = c.contribute(pool, self.site, self.rng)
            self.packed = self.site.pack(pool, c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, self.rng))
            self.prepare(pool)
            self.before = len(pool.log.entries(0, 256))

    def prepare(self, pool):
        """Fill the log with other leaves up to a place."""
        while self.leaves and len(pool.log.entries(0, 256)) < self.leaves:
            (pool.sites.suspend if pool.sites.get("site-b").state == "ACTIVE" else pool.sites.approve)("site-b")

    def fresh(self):
        """A copy of the pool."""
        target = self.folder / "pool"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.template / "pool", target)
        return target

    def play(self, pool):
        """Send the second contribution, from wherever an earlier attempt ended."""
        return c.submit(pool, self.packed, chunk=CHUNK)

    def verdict(self, pool, folder, acknowledged):
        """Play to the end and look at everything; an empty text is good."""
        done = self.play(pool)
        if acknowledged not in (None, done.receipt) or self.play_again(pool) != done:
            return "another receipt for the same upload"
        if pool.contributions.intake.commit(self.first.contribution_id, c.NOW) != self.first:
            return "an older receipt changed"
        for answer in (self.first, done):
            bundle = envelope.parse(answer.receipt)
            receipt.verify(bundle, envelope.verify(bundle, self.site.key.public), pool.log.keys)
        if len(pool.contributions.all()) != 2 or size_of(pool) != self.before + 2:
            return "the log holds something twice, or not at all"
        if self.leaves and not (folder / "tiles" / "tile" / "0" / "001").is_file():
            return "a tile is full and not there"
        if list((folder / "spool").iterdir()):
            return "something is left in the spool"
        report = examine(folder, self.storage)
        return "" if not report.problems and not report.notes else str(report)

    def play_again(self, pool):
        begun = pool.contributions.intake.begin(self.packed.bundle, self.packed.manifest, c.NOW)
        return pool.contributions.intake.commit(begun.upload_id, c.NOW) if begun.already_logged else None


class Publishing(Story):
    """The second contribution's leaf is the 16th."""

    leaves = 15


class Withdrawing(Story):
    """The second contribution is there, and its site takes it back; the withdrawal's leaf is the 16th."""

    leaves = 15

    def prepare(self, pool):
        self.second = super().play(pool)
        pool.upkeep.seal(self.folder / "sealed")
        super().prepare(pool)
        found = pool.contributions.get(self.second.contribution_id)
        event = events.Withdrawal(
            pool=pool.origin, time="2026-07-01T12:00:00Z", contribution_id=found.contribution_id, sha256=found.sha256
        )
        self.sha256, self.bundle = found.sha256, envelope.sign_statement(self.site.key, event.payload())

    def play(self, pool):
        return pool.contributions.withdrawals.withdraw(self.bundle)

    def verdict(self, pool, folder, acknowledged):
        seen = pool.contributions.get(self.second.contribution_id).state
        if acknowledged is not None and seen != "WITHDRAWN":
            return "an acknowledged withdrawal is lost"
        done = self.play(pool)
        if acknowledged not in (None, done.receipt) or self.play(pool) != done or not done.erased:
            return "another answer for the same withdrawal"
        bundle = envelope.parse(done.receipt)
        receipt.verify(bundle, envelope.verify(bundle, self.site.key.public), pool.log.keys)
        if [one.contribution_id for one in c.active(pool)] != [self.first.contribution_id]:
            return "the pool serves something else than the first contribution"
        if pool.contributions.blobs.holds(self.sha256) or pool.contributions.blobs.path(self.sha256).exists():
            return "the weights are still there"
        if (folder / "keys" / "data" / self.sha256).exists():
            return "the key of their sealed copy is still there"
        if pool.contributions.intake.commit(self.second.contribution_id, c.NOW).receipt != self.second.receipt:
            return "the receipt of what was withdrawn changed"
        if size_of(pool) != self.before + 2:
            return "the log holds something twice, or not at all"
        report = examine(folder, self.storage)
        return "" if not report.problems and not report.notes else str(report)


class Reviewed(Story):
    """The second contribution is quarantined and is a copy of the first in disguise, so it is rejected."""

    def __init__(self, folder):
        super().__init__(folder)
        with OpenPool.open(self.template / "pool", automatic=False) as pool:
            self.second = super().play(pool)
            self.before = size_of(pool)

    def play(self, pool):
        reviews = Reviews(pool, ReviewPolicy(), lambda *_: [Finding("NEAR_COPY", "a copy")])
        reviews.review_all()
        return pool.contributions.get(self.second.contribution_id)

    def verdict(self, pool, folder, acknowledged):
        before = pool.contributions.get(self.second.contribution_id)
        if acknowledged is not None and before.state != "REJECTED":
            return "a concluded review is lost"
        if (before.state == "QUARANTINED") != (before.note == "") or (before.state, before.note == "") not in (
            ("QUARANTINED", True),
            ("REJECTED", False),
        ):
            return f"half a conclusion: {before.state} {before.note}"
        done = self.play(pool)
        if (done.state, done.note, done.receipt) != ("REJECTED", "NEAR_COPY: a copy", self.second.receipt):
            return f"the review ends as {done.state}: {done.note}"
        if self.play(pool) != done or size_of(pool) != self.before + 1:
            return "the log holds something twice, or not at all"
        report = examine(folder)
        return "" if not report.problems and not report.notes else str(report)


def size_of(pool):
    return int(pool.heads.latest().split("\n")[1])


def child(function):
    """Run in a fork; answers the exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killing_at(n, note):
    def act(number, name):
        if number == n:
            note.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def kill_contribute(story, n):
    folder, note, ack = story.fresh(), story.folder / "note", story.folder / "ack"
    ack.unlink(missing_ok=True)

    def run():
        with OpenPool.open(folder) as pool, counted(killing_at(n, note)):
            ack.write_bytes(story.play(pool).receipt)

    status = child(run)
    if status == 0:
        return None
    problems = examine(folder).problems
    with OpenPool.open(folder) as pool:
        verdict = story.verdict(pool, folder, ack.read_bytes() if ack.exists() else None)
    return {"step": note.read_text(), "status": status, "verdict": verdict or "".join(map(str, problems))}


def kill_open(story, n):
    """Kill the recovery: of a process that was killed between the published blob and the COMMIT, and others."""
    folder, note = story.fresh(), story.folder / "note"

    def before():
        with OpenPool.open(folder) as pool, counted(lambda _, name: os._exit(0) if name == "COMMIT" else None):
            story.play(pool)

    def run():
        with counted(killing_at(n, note)), OpenPool.open(folder):
            pass

    child(before)
    (folder / "spool" / ("1" * 64 + ".part")).write_bytes(b"left over")
    status = child(run)
    if status == 0:
        return None
    with OpenPool.open(folder) as pool:
        return {"step": note.read_text(), "status": status, "verdict": story.verdict(pool, folder, None)}


def kill_create(story, n):
    folder, note = story.folder / "new", story.folder / "note"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def run():
        with counted(killing_at(n, note)):
            OpenPool.create(folder, c.ORIGIN, [story.template / "blueprint"])

    status = child(run)
    if status == 0:
        return None
    try:
        with OpenPool.open(folder):
            verdict = "".join(map(str, examine(folder).problems))
    except GenepoolError as exc:
        verdict = "" if exc.reason in ("POOL_UNKNOWN", "LEDGER_VERSION") else exc.reason
    return {"step": note.read_text(), "status": status, "verdict": verdict}


def failing_at(n, code, seen):
    def act(number, name):
        if number == n:
            seen.append(name)
            if name != "COMMIT":
                raise OSError(code, os.strerror(code))

    return act


def fail_contribute(story, n, code):
    """Let a step fail, then try again: in the same process, and for EIO in a new one too."""
    for reopen in (False, True)[: 1 + (code == errno.EIO)]:
        folder, seen, reason, verdict = story.fresh(), [], "", ""
        with OpenPool.open(folder) as pool:
            try:
                with counted(failing_at(n, code, seen)):
                    story.play(pool)
            except GenepoolError as exc:
                reason = exc.reason
            if not seen:
                return None
            problems = examine(folder).problems
            if not reopen:
                verdict = judged(story, pool, folder)
        if reopen:
            with OpenPool.open(folder) as pool:
                verdict = judged(story, pool, folder)
        if verdict or problems:
            break
    return {"step": seen[0], "reason": reason, "verdict": verdict or "".join(map(str, problems))}


def judged(story, pool, folder):
    try:
        return story.verdict(pool, folder, None)
    except GenepoolError as exc:
        return f"the retry failed: {exc.reason}"


def fail_create(story, n, code):
    folder, seen, reason = story.folder / "new", [], ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with counted(failing_at(n, code, seen)):
            OpenPool.create(folder, c.ORIGIN, [story.template / "blueprint"])
    except GenepoolError as exc:
        reason = exc.reason
        left = [path.name for path in folder.rglob("*") if path.is_file()]
        return {"step": seen[0], "reason": reason, "verdict": f"left {left}" if left else ""}
    return {"step": seen[0], "reason": "", "verdict": ""} if seen else None


def backing_up(story, act):
    """How to write a backup of a fresh copy while something happens to the steps, and the pool's folder."""
    folder, out = story.fresh(), story.folder / "out"
    for path in (out, story.folder / "out-keys"):
        shutil.rmtree(path, ignore_errors=True)

    def run():
        with OpenPool.open(folder) as pool, counted(act):
            pool.upkeep.backup(out, story.folder / "out-keys")

    return run, folder


def restoring(story, act):
    """How to restore while something happens to the steps, and the restored folder."""
    source, target = BackupSource(story.folder / "saved", story.folder / "saved-keys"), story.folder / "restored"
    if not source.backup.exists():
        with OpenPool.open(story.fresh()) as pool:
            pool.upkeep.backup(source.backup, source.keys)
    shutil.rmtree(target, ignore_errors=True)

    def run():
        with counted(act):
            restore(source, target, HERE, {})

    return run, target


def whole(story, what, folder):
    """A backup or a restored pool is whole or not there, and can be made again."""
    if what is backing_up and (story.folder / "out").exists():
        run, folder = backing_up(story, lambda *_: None)
        made = story.folder / "of-out"
        shutil.rmtree(made, ignore_errors=True)
        run()
        restore(BackupSource(story.folder / "out", story.folder / "out-keys"), made, HERE, {})
    if what is restoring and not folder.exists():
        restoring(story, lambda *_: None)[0]()
    return "".join(map(str, examine(folder).problems))


def kill_copying(story, n, what):
    note = story.folder / "note"
    run, folder = what(story, killing_at(n, note))
    status = child(run)
    return None if status == 0 else {"step": note.read_text(), "status": status, "verdict": whole(story, what, folder)}


def fail_copying(story, n, code, what):
    seen, reason = [], ""
    run, folder = what(story, failing_at(n, code, seen))
    before = set(story.folder.iterdir())
    try:
        run()
    except GenepoolError as exc:
        reason = exc.reason
    if not seen:
        return None
    left = [path.name for path in set(story.folder.iterdir()) - before if reason and path.name != "out-keys"]
    return {"step": seen[0], "reason": reason, "verdict": f"left {left}" if left else whole(story, what, folder)}


def main(mode, what, folder):
    """Inject at every step until the story ends without a fault."""
    copying = {"backup": partial(kill_copying, what=backing_up), "restore": partial(kill_copying, what=restoring)}
    story, n = {"publish": Publishing, "withdraw": Withdrawing, "review": Reviewed}.get(what, Story)(Path(folder)), 0
    what = {"publish": "contribute", "withdraw": "contribute", "review": "contribute"}.get(what, what)
    if mode == "kill":
        run = {"contribute": kill_contribute, "create": kill_create, "open": kill_open, **copying}[what]
    else:
        copying = {"backup": partial(fail_copying, what=backing_up), "restore": partial(fail_copying, what=restoring)}
        action = {"contribute": fail_contribute, "create": fail_create, **copying}[what]
        run = lambda story, n: action(story, n, getattr(errno, mode))  # noqa: E731
    while (outcome := run(story, n := n + 1)) is not None:
        print(json.dumps({"n": n, **outcome}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
