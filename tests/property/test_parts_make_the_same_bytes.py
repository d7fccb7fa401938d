"""Building piece by piece, with somebody reading behind, gives the bytes of building at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.blueprint import SeedRef
from genepool_protocol.learngene.size import Size
from genepool_server.serving import assembly
from tests.support.genes import flat, random_gene, seed_gene, tiny_blueprint


@st.composite
def cases(draw):
    components = draw(st.integers(1, 4))
    seed = SeedRef(sha256="sha256:" + "0" * 64, size=1, components=draw(st.integers(components, 5)))
    blueprint = tiny_blueprint(components=components, seed=seed)
    size = Size(draw(st.integers(1, 5)), draw(st.integers(1, 2)))
    return blueprint, size, draw(st.lists(st.integers(-4000, 4000), max_size=4)), draw(st.integers(1, 60_000))


@settings(max_examples=60)
@given(cases(), st.sampled_from([np.float16, np.float32]))
def test_parts_make_the_same_bytes(case, dtype):
    blueprint, size, weights, part_bytes = case
    rng = np.random.default_rng(part_bytes)
    seed = flat(blueprint, seed_gene(blueprint, rng))
    members = [
        (milli, flat(blueprint, random_gene(blueprint, blueprint.components, rng)).astype(dtype)) for milli in weights
    ]
    expected = descendant.build(blueprint, size, seed, members)[len(descendant.model_header(blueprint, size)) :]
    base = assembly.Base(blueprint, size, seed)
    scratch = np.full(algebra.elements(expansion.gene_layout(blueprint, blueprint.components)), np.nan, np.float32)
    for _ in ("the first time", "from what is kept"):
        out = np.full(len(expected) // 4, np.nan, np.float32)
        reached = 0
        for ready in assembly.build_parts(
            blueprint, base, size, members, out=out, scratch=scratch, part_bytes=part_bytes
        ):
            assert ready > reached
            assert out[: ready // 4].tobytes() == expected[:ready]
            reached = ready
        assert reached == len(expected)
