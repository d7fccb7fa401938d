"""The worker: scores and builds as the protocol says, from mapped files, on many threads."""

import threading
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import net, tals
from genepool_protocol.selection.embedding import task_embedding
from genepool_protocol.selection.scorer import Local, Scorer
from genepool_protocol.wire.errors import GenepoolError, StorageError
from genepool_server.serving import descend_request
from genepool_server.serving.jobs import Build, WorkerSupport
from genepool_server.serving.library import StoredFile
from genepool_server.serving.slots import Slots
from genepool_server.serving.worker import Worker


@pytest.fixture
def slots(tmp_path):
    slots = Slots.create([tmp_path], 2, 1 << 20)
    yield slots
    slots.close()


def refs(view) -> list[StoredFile]:
    return [
        descend_request.file_of(found) for found in view.contributions.active(view.blueprint("tiny-16").blueprint, ())
    ]


def seed_gene(view) -> dict:
    loaded = view.blueprint("tiny-16")
    layout = expansion.gene_layout(loaded.blueprint, loaded.blueprint.seed.components)
    return {name: TensorFile(loaded.seed_path).array(name).astype(np.float32) for name in layout}


def expected(view, size, members) -> bytes:
    layout = expansion.gene_layout(view.only, view.only.components)
    seed = algebra.flatten(expansion.gene_layout(view.only, view.only.seed.components), seed_gene(view))
    deltas = [(milli, TensorFile(Path(ref.path)).flat(layout)) for ref, milli in members]
    built = descendant.build(view.only, size, seed, deltas)
    return built[len(descendant.model_header(view.only, size)) :]


def test_a_task_embedding_is_the_protocols(view, family, support, shared):
    pixels, _ = support
    found = Worker(4).task_embedding(WorkerSupport(family, shared[0], None))
    own = task_embedding(view.only, net.as_tensors(seed_gene(view)), pixels)
    assert np.array_equal(found.mean, own.mean)


def test_scores_are_the_protocols_for_whole_and_for_thin_learngenes(view, family, support, shared):
    a, b, _ = refs(view)
    jobs = [(), ((a, 1000),), ((a, 500), (b, -250))]
    found = Worker(4).score(WorkerSupport(family, *shared), jobs)
    layout = expansion.gene_layout(view.only, view.only.components)
    scorer = Scorer(view.only, net.as_tensors(seed_gene(view)), *support)

    def whole(ref):
        flat = TensorFile(Path(ref.path)).flat(layout).astype(np.float32)
        return net.as_tensors(algebra.views(layout, flat))

    assert found == [scorer.score([(milli, whole(ref)) for ref, milli in job]) for job in jobs]
    assert len(set(found)) == 3


def test_slopes_are_the_protocols_along_stored_learngenes(view, family, support, shared):
    a, b, c = refs(view)
    found = Worker(4).slopes(WorkerSupport(family, *shared), ((a, 500),), [a, b, c])
    layout = expansion.gene_layout(view.only, view.only.components)
    scorer = Scorer(view.only, net.as_tensors(seed_gene(view)), *support)
    thin = {
        ref.path: net.as_tensors(
            tals.thin(view.only, algebra.views(layout, TensorFile(Path(ref.path)).flat(layout).astype(np.float32)))
        )
        for ref in (a, b, c)
    }
    assert found == Local(scorer, thin).slopes(((a.path, 500),), [a.path, b.path, c.path])
    assert len(set(found)) == 3


def test_scoring_stops_between_two_candidates_when_nobody_wants_it(view, family, shared):
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert len(Worker(4).score(WorkerSupport(family, *shared), [()] * 9, cancelled)) == 2


def test_an_unlabelled_set_cannot_be_scored(family, shared):
    with pytest.raises(GenepoolError) as caught:
        Worker(4).score(WorkerSupport(family, shared[0], None), [()])
    assert caught.value.reason == "INTERNAL"


@pytest.mark.parametrize("size", [Size(1, 1), Size(3, 2), Size(5, 2)])
def test_a_build_fills_the_slot_with_the_descendants_bytes(view, family, slots, size):
    members = tuple((ref, 300 * (n + 1)) for n, ref in enumerate(refs(view)))
    slot = slots.lease()
    steps = list(Worker(4).build(Build(family, size, members, str(slot.path), slot.size)))
    built = expected(view, size, members)
    assert steps == sorted(set(steps))
    assert steps[-1] == len(built)
    assert slot.read(0, len(built)) == built


def test_one_worker_builds_on_many_threads_without_mixing_anything_up(view, family, slots):
    worker, wrong = Worker(1), []
    leased = [slots.lease(), slots.lease()]

    def work(slot, number):
        for turn in range(15):
            size = Size(1 + (turn + number) % 5, 1 + turn % 2)
            members = tuple((ref, 1000 + 100 * number + turn) for ref in refs(view))
            *_, end = worker.build(Build(family, size, members, str(slot.path), slot.size))
            if slot.read(0, end) != expected(view, size, members):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(slot, number)) for number, slot in enumerate(leased)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_corrupt_file_is_found_while_building_and_while_scoring(view, family, shared, slots):
    ref = refs(view)[0]
    bad = StoredFile(ref.path, "0" * 64)
    slot = slots.lease()
    for attempt in (
        lambda worker: list(worker.build(Build(family, Size(1, 1), ((bad, 1000),), str(slot.path), slot.size))),
        lambda worker: worker.score(WorkerSupport(family, *shared), [((bad, 1000),)]),
    ):
        with pytest.raises(StorageError) as caught:
            attempt(Worker(4))
        assert caught.value.reason == "BLOB_CORRUPT"
