"""What is kept, under which key, and that nothing is computed twice."""

import numpy as np
import psutil
import pytest

from genepool_client.training import ancestry
from genepool_lab.benchmark.lab import Lab, Workers
from genepool_lab.benchmark.store import Store, code_digest, content_key
from genepool_lab.benchmark.trainings import Noise
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.selection import guard, scoring


def test_a_key_names_step_and_inputs():
    assert content_key("a", x=1) == content_key("a", x=1)
    assert len({content_key("a", x=1), content_key("b", x=1), content_key("a", x=2), content_key("a", y=1)}) == 4


def test_a_step_is_finished_when_its_record_is_there(tmp_path):
    store = Store(tmp_path)
    assert not store.has("ab12")
    (store.work("ab12") / "checkpoint").write_text("x")
    store.put("ab12", {"n": 1}, {"x": np.arange(3)})
    assert store.has("ab12")
    assert store.record("ab12") == {"n": 1}
    assert store.arrays("ab12")["x"].tolist() == [0, 1, 2]
    assert not (tmp_path / "work" / "ab12").exists()
    store.path("ab12", ".json").unlink()
    assert not store.has("ab12")


def test_the_version_of_a_step_covers_what_its_module_imports(monkeypatch):
    import inspect

    before = code_digest.__wrapped__(ancestry)
    assert code_digest.__wrapped__(guard) != code_digest.__wrapped__(scoring)
    real = inspect.getsource
    changed = lambda module: real(module) + ("#" if module is expansion else "")  # noqa: E731
    monkeypatch.setattr(inspect, "getsource", changed)
    assert code_digest.__wrapped__(ancestry) != before


@pytest.fixture
def lab(tmp_path):
    made = Lab("nano-32", tmp_path / "store")
    count = algebra.elements(expansion.gene_layout(made.blueprint, made.blueprint.components))
    delta = np.random.default_rng(0).normal(0, 0.01, count).astype(np.float16)
    for name in ("1" * 64, "2" * 64):
        made.store.put(name, {}, {"delta": delta})
    return made


@pytest.mark.slow
def test_an_interrupted_run_computes_only_what_is_missing(lab):
    cells = [Noise("1" * 64), Noise("2" * 64)]
    told = []
    with Workers(lab, 1) as workers:
        workers.compute(cells[:1], lambda done, total, note: told.append((done, total)))
        written = lab.store.path(cells[0].key, ".npz").stat().st_mtime_ns
        workers.compute([*cells, *cells], lambda done, total, note: told.append((done, total)))
        assert told == [(1, 1), (1, 1)]
        assert lab.store.path(cells[0].key, ".npz").stat().st_mtime_ns == written
        assert workers.compute(cells, lambda *_: told.append(_)) == 0.0
    assert len(told) == 2


@pytest.mark.slow
def is_worker(process):
    """Whether it runs as one; what has ended and was not waited for has no command line any more."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def test_a_cell_that_fails_ends_the_run_with_its_reason(lab):
    earlier = set(psutil.Process().children())
    with pytest.raises(FileNotFoundError), Workers(lab, 1) as workers:
        workers.compute([Noise("1" * 64), Noise("0" * 64)], lambda *_: None)
    left = [child for child in set(psutil.Process().children()) - earlier if is_worker(child)]
    assert not psutil.wait_procs(left, timeout=20)[1]


def test_random_numbers_have_the_norm_of_the_learngene_in_every_tensor(lab):
    cell = Noise("1" * 64)
    cell.run(lab)
    layout = expansion.gene_layout(lab.blueprint, lab.blueprint.components)
    real, noise = (algebra.views(layout, lab.delta(name).astype(np.float32)) for name in ("1" * 64, cell.key))
    for name in layout:
        assert np.linalg.norm(noise[name]) == pytest.approx(np.linalg.norm(real[name]), rel=1e-2)
        assert abs(np.corrcoef(noise[name].ravel(), real[name].ravel())[0, 1]) < 0.3
