"""Serving as the front uses it. The same tests run inline and, as slow ones, on Ray: the answers must be the same."""

import asyncio
import contextlib
import hashlib

import numpy as np
import pytest

from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.learngene.tensors import TensorFile, parse_header
from genepool_protocol.selection import tals
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from tests.support.serving import at_home, collect, download, expected, select, slots_are_back, weights_of


def reason_of(world, coroutine) -> str:
    with pytest.raises(GenepoolError) as caught:
        world.run(coroutine)
    return caught.value.reason


# -- selecting --------------------------------------------------------------------------------------------------------


def test_a_selection_at_the_pool_is_the_selection_at_home(world, support):
    remote = world.run(select(world, support))
    assert remote == at_home(world, support)
    assert len(remote.candidates) == 9
    assert remote.candidates[0].score is not None


def test_the_same_question_gets_the_same_answer(world, support):
    async def twice():
        return await asyncio.gather(select(world, support), select(world, support))

    first, second = world.run(twice())
    assert first == second


def test_an_unlabelled_set_is_answered_by_keys_alone(world, support):
    found = world.run(select(world, support, labels=[]))
    assert found == at_home(world, support, labelled=False)
    assert [c.embedding_distance for c in found.candidates] == sorted(c.embedding_distance for c in found.candidates)
    assert all(candidate.score is None for candidate in found.candidates)


def test_licences_are_a_filter(world, support):
    found = world.run(select(world, support, licences=("CC-BY-4.0",)))
    assert {world.view.contributions.get(c.contribution_id).license for c in found.candidates} == {"CC-BY-4.0"}
    assert reason_of(world, select(world, support, licences=("MIT",))) == "POOL_EMPTY"


def test_what_is_quarantined_takes_no_part(world, support):
    found = world.run(select(world, support))
    assert {world.view.contributions.get(c.contribution_id).state for c in found.candidates} == {"ACTIVE"}


def test_with_many_images_the_workers_search_as_one_does_at_home(world, support):
    pixels, labels = support
    many, stages = (np.concatenate([pixels, 255 - pixels]), [*labels, *labels]), []
    found = world.run(select(world, many, progress=lambda _done, _total, stage: stages.append(stage)))
    assert "search" in stages
    assert found == at_home(world, many)


def test_progress_counts_every_candidate(world, support):
    events = []
    world.run(select(world, support, progress=lambda *event: events.append(event)))
    assert [stage for _, _, stage in events] == ["retrieve"] + ["score"] * 9 + ["guard"]
    assert [done for done, _, stage in events if stage == "score"] == list(range(1, 10))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pixels, labels: (pixels[:, :8], labels), "SUPPORT_MALFORMED"),
        (lambda pixels, labels: (pixels.astype(np.float32), labels), "SUPPORT_MALFORMED"),
        (lambda pixels, labels: (pixels[:0], []), "SUPPORT_MALFORMED"),
        (lambda pixels, labels: (pixels, labels[:-1]), "SUPPORT_MALFORMED"),
        (lambda pixels, labels: (pixels, [0] * 24), "ONE_CLASS_ONLY"),
        (lambda pixels, labels: (pixels, [0, 2] * 12), "ONE_CLASS_ONLY"),
        (lambda pixels, labels: (pixels[:1], [0]), "SUPPORT_TOO_SMALL"),
        (lambda pixels, labels: (np.zeros((LIMITS.support_images + 1, 16, 16, 3), np.uint8), []), "SUPPORT_TOO_LARGE"),
    ],
)
def test_a_bad_support_set_is_refused_before_anything_is_computed(world, support, change, reason):
    assert reason_of(world, select(world, change(*support), change(*support)[1])) == reason


def test_an_unknown_blueprint_is_refused_everywhere(world, support):
    assert reason_of(world, select(world, support, name="none")) == "BLUEPRINT_UNKNOWN"
    assert reason_of(world, collect(world.serving.embeddings("none", ()))) == "BLUEPRINT_UNKNOWN"
    assert reason_of(world, collect(world.serving.thin("none", ["0" * 64]))) == "BLUEPRINT_UNKNOWN"
    assert reason_of(world, world.serving.order("none", [], Budget(max_params=1))) == "BLUEPRINT_UNKNOWN"


def test_too_many_selections_hear_busy(world, support):
    async def run():
        results = await asyncio.gather(*(select(world, support) for _ in range(6)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, GenepoolError)]
        assert {error.reason for error in refused} == {"BUSY"}
        assert len(refused) == 2  # two at work, two in the queue
        assert len(set(results) - set(refused)) == 1

    world.run(run())


def test_a_cancelled_selection_leaves_room_for_the_next(world, support):
    async def give_up(after):
        begun = asyncio.Event()
        work = asyncio.create_task(select(world, support, progress=lambda *_: begun.set()))
        await begun.wait()
        await asyncio.sleep(after)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # it may be through by then
            await asyncio.wait_for(work, 20)

    async def run():
        for milliseconds in range(12):  # before, while and after the shards are handed out
            await give_up(milliseconds / 1000)
        return await asyncio.gather(select(world, support), select(world, support))

    first, second = world.run(run())
    assert first == second == at_home(world, support)


# -- keys and slices --------------------------------------------------------------------------------------------------


def test_keys_come_sorted_and_filtered(world):
    found = world.run(collect(world.serving.embeddings("tiny-16", ())))
    assert [entry.contribution_id for entry, _ in found] == [
        e.contribution_id for e in world.view.contributions.active(world.view.blueprint("tiny-16").blueprint, ())
    ]
    for entry, key in found:
        file = TensorFile(entry.path)
        assert np.array_equal(key.mean, file.array("key.mean").astype(np.float32))
    assert len(world.run(collect(world.serving.embeddings("tiny-16", ("CC-BY-4.0",))))) == 3


def test_a_thin_slice_is_the_learngenes_own_numbers(world):
    (name, _), *_ = weights_of(world)
    ((answered, raw),) = world.run(collect(world.serving.thin("tiny-16", [name])))
    assert answered == name
    blueprint = world.view.blueprint("tiny-16").blueprint
    whole = TensorFile(world.view.contributions.get(name).path)
    wanted = tals.thin(blueprint, {key: whole.array(key) for key in whole.header.layout})
    header = parse_header(raw, len(raw))
    assert header.layout == {key: array.shape for key, array in wanted.items()}
    for key, tensor in header.tensors.items():
        part = raw[header.length + tensor.begin : header.length + tensor.end]
        assert np.array_equal(np.frombuffer(part, np.float16).reshape(tensor.shape), wanted[key])
    assert len(raw) < world.view.contributions.get(name).size_bytes


def test_only_active_learngenes_of_the_blueprint_are_sliced(world):
    (other, _), *_ = weights_of(world, "big-32")
    (quarantined,) = (f for f in world.view.contributions.held.values() if f.state == "QUARANTINED")
    assert reason_of(world, collect(world.serving.thin("tiny-16", [other]))) == "WEIGHTS_MALFORMED"
    assert reason_of(world, collect(world.serving.thin("tiny-16", ["0" * 64]))) == "CONTRIBUTION_UNKNOWN"
    wanted = [quarantined.contribution_id]
    assert reason_of(world, collect(world.serving.thin("tiny-16", wanted))) == "CONTRIBUTION_NOT_ACTIVE"


# -- descending -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [Size(1, 1), Size(5, 2)])
def test_a_descendant_is_the_protocols_bytes(world, size):
    weights = weights_of(world)
    chunks, sha256 = world.run(download(world, "tiny-16", weights, Budget(size=size)))
    assert b"".join(chunks) == expected(world.view, "tiny-16", size, weights)
    assert sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_the_seed_itself_can_be_asked_for(world):
    chunks, _ = world.run(download(world, "tiny-16", [], Budget(size=Size(3, 2))))
    assert b"".join(chunks) == expected(world.view, "tiny-16", Size(3, 2), [])


def test_a_large_descendant_comes_in_bounded_chunks(world):
    weights = weights_of(world, "big-32")
    chunks, sha256 = world.run(download(world, "big-32", weights, Budget(size=Size(12, 4))))
    assert max(map(len, chunks)) == LIMITS.chunk_bytes
    built = expected(world.view, "big-32", Size(12, 4), weights)
    assert hashlib.sha256(built).hexdigest() == sha256
    assert b"".join(chunks) == built


@pytest.mark.parametrize("offset", [1, 100, 3000, 5000, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_a_descendant_resumes_at_any_byte_with_the_same_digest(world, offset):
    weights = weights_of(world, "big-32", 2)
    order = world.run(world.serving.order("big-32", weights, Budget(size=Size(2, 4))))
    whole = expected(world.view, "big-32", Size(2, 4), weights)
    assert order.total_bytes == len(whole)
    chunks, sha256 = world.run(download(world, "big-32", weights, Budget(size=Size(2, 4)), offset))
    assert b"".join(chunks) == whole[offset:]
    assert sha256 == hashlib.sha256(whole).hexdigest()


def test_an_offset_at_the_end_is_nothing_and_behind_it_an_error(world):
    total = len(expected(world.view, "tiny-16", Size(1, 1), []))
    chunks, _ = world.run(download(world, "tiny-16", [], Budget(size=Size(1, 1)), total))
    assert chunks == []
    assert reason_of(world, download(world, "tiny-16", [], Budget(size=Size(1, 1)), total + 1)) == "OFFSET"
    assert world.run(slots_are_back(world))


def test_there_is_no_digest_before_the_last_chunk(world):
    async def run():
        asked = ("tiny-16", [], Budget(size=Size(1, 1)))
        async with await world.serving.descend(*asked) as descent:
            with pytest.raises(GenepoolError) as caught:
                _ = descent.sha256
            assert caught.value.reason == "INTERNAL"

    world.run(run())
    assert world.run(slots_are_back(world))


def test_a_consumer_that_leaves_gives_its_slot_back(world):
    async def run():
        asked = ("big-32", weights_of(world, "big-32"), Budget(size=Size(12, 4)))
        for take in (0, 1, 3):
            async with await world.serving.descend(*asked) as descent:
                stream = descent.chunks()
                for _ in range(take):
                    await anext(stream)
                await stream.aclose()
        return await slots_are_back(world)

    assert world.run(run())
    chunks, _ = world.run(download(world, "tiny-16", [], Budget(size=Size(1, 1))))
    assert b"".join(chunks) == expected(world.view, "tiny-16", Size(1, 1), [])


def test_too_many_descendants_hear_busy_and_those_in_the_queue_get_theirs(world):
    async def run():
        asked = ("tiny-16", [], Budget(size=Size(2, 2)))
        held = [await world.serving.descend(*asked) for _ in range(2)]
        queued = [asyncio.create_task(world.serving.descend(*asked)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(GenepoolError) as caught:
            await world.serving.descend(*asked)
        assert caught.value.reason == "BUSY"
        # the gate comes before the order is looked at: who is refused costs nothing
        with pytest.raises(GenepoolError) as caught:
            await world.serving.descend("none", [], asked[2])
        assert caught.value.reason == "BUSY"
        for descent in held:
            descent.release()
        for task in queued:
            async with await task as descent:
                assert b"".join(await collect(descent.chunks())) == whole
        return await slots_are_back(world)

    whole = expected(world.view, "tiny-16", Size(2, 2), [])
    assert world.run(run())


def test_descents_and_selections_at_the_same_time_disturb_nobody(world, support):
    weights = weights_of(world, "big-32")

    async def run():
        return await asyncio.gather(
            select(world, support),
            *(download(world, "big-32", weights, Budget(size=Size(depth, 3))) for depth in (2, 9, 4)),
        )

    selection, *found = world.run(run())
    assert selection == at_home(world, support)
    for depth, (chunks, _) in zip((2, 9, 4), found, strict=True):
        assert b"".join(chunks) == expected(world.view, "big-32", Size(depth, 3), weights)


def test_a_learngene_that_was_changed_on_disk_is_not_served(world):
    changed = world.view.add("site-9", licence="BROKEN")
    changed.path.write_bytes(changed.path.read_bytes()[:-1] + b"\xff")
    weights = [(changed.contribution_id, 1000)]
    try:
        assert reason_of(world, download(world, "tiny-16", weights, Budget(size=Size(1, 1)))) == "BLOB_CORRUPT"
        assert reason_of(world, collect(world.serving.thin("tiny-16", [changed.contribution_id]))) == "BLOB_CORRUPT"
        assert world.run(slots_are_back(world))
    finally:
        del world.view.contributions.held[changed.contribution_id]


def test_somebody_answers(world):
    assert world.run(world.serving.ping())
