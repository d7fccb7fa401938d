"""What a consumer does with serving, and what must come out: computed here with the protocol alone."""

import asyncio

import numpy as np

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.tensors import TensorFile, parse_header
from genepool_protocol.selection import net, tals
from genepool_protocol.selection.embedding import task_embedding
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.scorer import Local, Scorer


async def collect(stream) -> list:
    return [item async for item in stream]


def nothing(*_) -> None:
    pass


def select(world, support, labels=None, *, licences=(), progress=nothing, name="tiny-16"):
    pixels, own = support
    return world.serving.select(name, pixels, own if labels is None else labels, licences, progress)


def seed(view, name="tiny-16") -> dict:
    loaded = view.blueprint(name)
    return {key: array.astype(np.float32) for key, array in TensorFile(loaded.seed_path).all().items()}


def at_home(world, support, *, labelled: bool = True) -> tals.TalsSelection:
    """What a private consumer computes from keys and thin slices alone."""
    blueprint = world.view.blueprint("tiny-16").blueprint
    pixels, labels = support
    keys = world.run(collect(world.serving.embeddings("tiny-16", ())))
    names = [found.contribution_id for found, _ in keys]
    slices = {}
    for name, raw in world.run(collect(world.serving.thin("tiny-16", names))):
        header = parse_header(raw, len(raw))
        arrays = {
            key: np.frombuffer(raw, np.float16, offset=header.length + t.begin, count=(t.end - t.begin) // 2).reshape(
                t.shape
            )
            for key, t in header.tensors.items()
        }
        slices[name] = net.as_tensors(arrays)
    weights = net.as_tensors(seed(world.view))
    scorer = Scorer(blueprint, weights, pixels, np.asarray(labels))
    return tals.select(
        task_embedding(blueprint, weights, pixels),
        [Member(found.contribution_id, key, found.site, found.log_index) for found, key in keys],
        Local(scorer, slices),
        labels=np.asarray(labels) if labelled else None,
    )


def expected(view, name, size, weights) -> bytes:
    blueprint = view.blueprint(name).blueprint
    layout = expansion.gene_layout(blueprint, blueprint.components)
    members = [(milli, TensorFile(view.contributions.get(one).path).flat(layout)) for one, milli in weights]
    flat = algebra.flatten(expansion.gene_layout(blueprint, blueprint.seed.components), seed(view, name))
    return descendant.build(blueprint, size, flat, members)


def weights_of(world, name="tiny-16", count=3):
    return [
        (found.contribution_id, 250 * (n + 1))
        for n, found in enumerate(world.view.contributions.active(world.view.blueprint(name).blueprint, ())[:count])
    ]


async def download(world, name, weights, budget, offset=0):
    async with await world.serving.descend(name, weights, budget) as descent:
        chunks = await collect(descent.chunks(offset))
        return chunks, descent.sha256


async def slots_are_back(world) -> bool:
    """Slots come back when the worker is through, not when the reader is."""
    for _ in range(2000):
        if world.serving._slots.free == 2:
            return True
        await asyncio.sleep(0.01)
    return False
