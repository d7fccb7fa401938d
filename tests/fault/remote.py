"""SIGKILL at the n-th step of a contribution or a withdrawal, for every n, with ledger and weights on other machines.

    python -m tests.fault.remote contribute|withdraw FOLDER

PostgreSQL and S3 are those of the parent (`tests.support.stores`). Their clients have threads, which a fork does not
copy: so this process uses neither, and every act is done by a forked child that tells the others by files.
"""

import json
import pickle
import sys
from dataclasses import asdict
from pathlib import Path

import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401 - once for all children

from genepool_protocol.trust.keys import SigningKey
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store import postgres, s3  # noqa: F401 - the same
from genepool_server.pool.store.storage import Storage
from genepool_server.pool.upkeep.fsck import examine
from tests.fault import driver
from tests.support import sites as c
from tests.support import stores


def tell(path, value):
    path.write_text(json.dumps(value))


def told(path):
    return json.loads(path.read_text())


def make(kind, folder):
    """The story and its pool; what the others need of it is left in a file."""
    story = kind(folder, stores.storage(stores.KINDS[1]))
    state = {name: value for name, value in vars(story).items() if name not in ("site", "rng")}
    (folder / "story").write_bytes(pickle.dumps((state, story.site.name, story.site.key.pem())))


def load(kind, folder):
    """The same story in another process."""
    story = kind.__new__(kind)
    state, name, key = pickle.loads((folder / "story").read_bytes())
    vars(story).update(state, site=c.Contributor(name, SigningKey.from_pem(key)))
    return story


def copy(kind, folder, n):
    """A copy of the pool, wherever its parts are."""
    story = load(kind, folder)
    stores._numbers = iter(range(1000 * n, 1000 * n + 1000))  # a child of every round has the same counter
    tell(folder / "storage", asdict(stores.copied(story.storage, story.template / "pool", folder / "pool")))


def play(kind, folder, n):
    """Die at the n-th step, or tell what was acknowledged."""
    story, storage = load(kind, folder), Storage(**told(folder / "storage"))
    with OpenPool.open(folder / "pool", storage) as pool, driver.counted(driver.killing_at(n, folder / "note")):
        (folder / "ack").write_bytes(story.play(pool).receipt)


def judge(kind, folder):
    """fsck, the retry, and everything that must be true after it."""
    story, storage = load(kind, folder), Storage(**told(folder / "storage"))
    story.storage, ack = storage, folder / "ack"
    problems = examine(folder / "pool", storage).problems
    with OpenPool.open(folder / "pool", storage) as pool:
        verdict = story.verdict(pool, folder / "pool", ack.read_bytes() if ack.exists() else None)
    tell(folder / "verdict", verdict or "".join(map(str, problems)))


def did(function, *args):
    assert driver.child(lambda: function(*args)) == 0, function.__name__


def main(what, folder):
    """Kill at every step until the story ends by itself."""
    kind, folder = {"contribute": driver.Story, "withdraw": driver.Withdrawing}[what], Path(folder)
    did(make, kind, folder)
    for n in range(1, 1000):
        (folder / "ack").unlink(missing_ok=True)
        did(copy, kind, folder, n)
        status = driver.child(lambda: play(kind, folder, n))  # noqa: B023 - called at once
        if status == 0:
            return
        did(judge, kind, folder)
        step = (folder / "note").read_text()
        print(json.dumps({"n": n, "step": step, "status": status, "verdict": told(folder / "verdict")}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
