"""The child that looks at uploads: bounded, replaced when it dies, and poor in what it knows."""

import os
import resource
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.learngene import tensors
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.confined.checker import BOUNDS, Checker
from genepool_server.confined.worker import Bounds, ChildWorker
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import sites as c


@contextmanager
def checking(bounds=BOUNDS):
    checker = Checker(bounds)
    try:
        yield checker
    finally:
        checker.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    with OpenPool.open(c.make_pool(folder)) as pool:
        return folder / "pool", c.join(pool, "site-a")


@pytest.fixture
def opened(template, tmp_path):
    """A pool that checks uploads in a child, and its site."""

    @contextmanager
    def opening(bounds=BOUNDS):
        shutil.copytree(template[0], tmp_path / "pool")
        with checking(bounds) as checker, OpenPool.open(tmp_path / "pool", inspect=checker) as pool:
            yield pool, template[1], checker.worker

    return opening


def weights(pool, number=1):
    return c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, np.random.default_rng(number))


def commit(pool, site, number=1):
    return c.submit(pool, site.pack(pool, weights(pool, number)))


def refused(pool, site, number=1):
    with pytest.raises(GenepoolError) as caught:
        commit(pool, site, number)
    return caught.value.reason


def hold(pid, number=signal.SIGSTOP):
    """Signal a child and wait until it has stopped."""
    os.kill(pid, number)
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        time.sleep(0.01)


def test_a_child_checks_as_the_server_itself_does(opened):
    with opened() as (pool, site, worker):
        done = commit(pool, site)
        assert pool.contributions.get(done.contribution_id).path.read_bytes() == weights(pool)
        first = worker.pid
        gene = c.gene(pool.blueprint(c.BLUEPRINT).blueprint, np.random.default_rng(2))
        gene["norm.bias"][0] = np.nan
        with pytest.raises(GenepoolError) as caught:
            c.submit(pool, site.pack(pool, tensors.encode(gene, "F16")))
        assert (caught.value.reason, type(caught.value).__name__) == ("NON_FINITE", "InvalidInput")
        assert "norm.bias" in caught.value.message
        assert worker.pid == first, "a refusal costs no new process"


def test_attack_47_a_child_that_hangs_is_killed_and_the_next_upload_is_taken(opened):
    with opened(Bounds(1 << 30, 20, 1.5)) as (pool, site, worker):
        commit(pool, site)
        stuck = worker.pid
        hold(stuck)
        assert refused(pool, site, 2) == "CHECK_LIMIT"
        assert not Path(f"/proc/{stuck}").exists()
        assert not list(Path(pool.contributions.all()[0].path.parents[2] / "spool").iterdir()), "the upload is dropped"
        assert commit(pool, site, 3).state == "ACTIVE"
        assert worker.pid not in (None, stuck)


def test_attack_47_a_child_that_runs_out_of_memory_refuses_and_the_server_goes_on(opened):
    with opened() as (pool, site, worker):
        commit(pool, site)
        _, used, *_ = Path(f"/proc/{worker.pid}/statm").read_text().split()
        assert int(used) * resource.getpagesize() < BOUNDS.memory_bytes
        size = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (size, size))  # what it has, and no page more
        assert refused(pool, site, 2) == "CHECK_LIMIT"
        assert commit(pool, site, 3).state == "ACTIVE"


def test_attack_47_a_child_that_is_killed_is_replaced_and_the_upload_is_taken(opened):
    with opened() as (pool, site, worker):
        commit(pool, site)
        first = worker.pid
        hold(first)
        done = []
        thread = threading.Thread(target=lambda: done.append(commit(pool, site, 2)))
        thread.start()
        time.sleep(0.2)
        os.kill(first, signal.SIGKILL)  # as the kernel does when the machine is out of memory
        thread.join(60)
        assert done[0].state == "ACTIVE"
        assert fsck(pool.contributions.all()[0].path.parents[2]) == []


def test_attack_47_an_upload_that_two_children_do_not_survive_is_refused(opened, monkeypatch):
    with opened(Bounds(1 << 30, 20, 30.0)) as (pool, site, worker):
        commit(pool, site)
        started = worker._started
        monkeypatch.setattr(worker, "_started", lambda: _killed_when_ready(started, worker))
        assert refused(pool, site, 2) == "CHECK_LIMIT"
        monkeypatch.undo()
        assert commit(pool, site, 3).state == "ACTIVE"


def _killed_when_ready(started, worker):
    end = started()
    os.kill(worker.pid, signal.SIGKILL)
    return end


def test_attack_47_processor_time_is_limited_by_the_kernel():
    worker = ChildWorker("check", Bounds(1 << 30, 3, 30.0))
    try:
        with pytest.raises(GenepoolError):
            worker.call({})  # malformed: a defect, and the child lives
        soft, _ = resource.prlimit(worker.pid, resource.RLIMIT_CPU)
        assert 3 <= soft <= 6
        assert resource.prlimit(worker.pid, resource.RLIMIT_FSIZE) == (0, 0)
        assert resource.prlimit(worker.pid, resource.RLIMIT_AS)[1] == 1 << 30
    finally:
        worker.close()


def test_a_child_inherits_no_secret_and_no_open_file(opened, monkeypatch):
    monkeypatch.setenv("GENEPOOL_SECRET", "do not tell")
    with opened() as (pool, site, worker):
        commit(pool, site)
        known = Path(f"/proc/{worker.pid}/environ").read_bytes()
        assert b"do not tell" not in known
        names = {entry.split(b"=")[0] for entry in known.split(b"\0") if entry}
        assert names <= {
            *(b"PATH", b"LANG", b"LC_ALL", b"TZ", b"LD_LIBRARY_PATH", b"PYTHONPATH"),
            *(b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS", b"MKL_NUM_THREADS", b"OMP_WAIT_POLICY"),
        }
        links = [str(path.readlink()) for path in Path(f"/proc/{worker.pid}/fd").iterdir()]
        assert not [link for link in links if str(pool.contributions.all()[0].path.parents[2]) in link], links
        assert sum(link.startswith("socket:") for link in links) == 1


def test_a_checker_imports_no_framework_of_tensors(opened):
    with opened() as (pool, site, worker):
        commit(pool, site)
        mapped = Path(f"/proc/{worker.pid}/maps").read_text()
        assert "numpy" in mapped
        assert not [name for name in ("torch", "grpc", "_sqlite3") if f"/{name}" in mapped]


def test_a_closed_worker_says_so_and_leaves_no_process(opened):
    with opened() as (pool, site, worker):
        commit(pool, site)
        pid = worker.pid
        worker.close()
        assert not Path(f"/proc/{pid}").exists()
        packed = site.pack(pool, weights(pool, 2))
        upload_id = c.upload(pool, packed)
        with pytest.raises(GenepoolError) as caught:
            pool.contributions.intake.commit(upload_id, c.NOW)
        assert caught.value.reason == "SERVING_UNAVAILABLE"
        assert pool.contributions.intake.status(upload_id)[1], "the upload is kept: it can be committed later"
