"""The laws that everything hangs on: D is linear, and exact at the reference size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.blueprint import SeedRef, SizeRef
from genepool_protocol.selection import net
from genepool_protocol.selection.pixels import to_images
from tests.support.genes import flat, published_blueprint, random_gene, seed_gene, tiny_blueprint


@st.composite
def blueprints(draw):
    heads = draw(st.integers(1, 4))
    depth = draw(st.integers(1, 6))
    components = draw(st.integers(1, 4))
    basis, narrowest = draw(st.sampled_from(["dct-v1", "dct-pick-v1"])), draw(st.integers(1, heads))
    class_token = draw(st.booleans())
    return tiny_blueprint(
        heads=heads,
        basis=basis,
        narrowest=narrowest,
        class_token=class_token,
        pooling="token" if class_token and draw(st.booleans()) else "avg",
        layer_scale=draw(st.booleans()),
        head_dim=draw(st.sampled_from([8, 12])),
        mlp_ratio=draw(st.integers(1, 4)),
        patch=draw(st.sampled_from([4, 8])),
        depth=depth,
        depths=[1, depth + (draw(st.integers(0, 6)) if basis == "dct-v1" else 0)],
        components=components,
        seed=SeedRef(sha256="sha256:" + "0" * 64, size=1, components=max(components, depth)),
        key=SizeRef(depth=1, heads=narrowest),
        score=SizeRef(depth=1, heads=heads),
    )


@st.composite
def cases(draw):
    blueprint = draw(blueprints())
    size = draw(st.sampled_from(blueprint.sizes()))
    weights = draw(st.lists(st.floats(-2, 2), min_size=1, max_size=4))
    return blueprint, size, weights, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_descending_a_sum_is_the_sum_of_descents(case):
    blueprint, size, weights, number = case
    rng = np.random.default_rng(number)
    seed = random_gene(blueprint, blueprint.seed.components, rng, np.float64)
    deltas = [random_gene(blueprint, blueprint.components, rng, np.float64) for _ in weights]
    total = {name: array.copy() for name, array in seed.items()}
    for weight, delta in zip(weights, deltas, strict=True):
        for name, array in delta.items():
            total[name] += weight * array
    together = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), total)
    apart = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)
    plan = expansion.plan(blueprint, size, blueprint.components)
    for weight, delta in zip(weights, deltas, strict=True):
        for name, array in expansion.expand(plan, delta).items():
            apart[name] = apart[name] + weight * array
    assert max(np.abs(together[name] - apart[name]).max() for name in together) < 1e-10


@settings(max_examples=40, deadline=None)
@given(cases())
def test_a_net_of_the_reference_size_survives_the_round_trip_exactly(case):
    blueprint, _, _, number = case
    rng = np.random.default_rng(number)
    plan = expansion.plan(blueprint, blueprint.reference, blueprint.depth)
    trained = {name: rng.standard_normal(shape) for name, shape in plan.layout.items()}
    back = expansion.expand(plan, expansion.project(blueprint, trained, blueprint.depth))
    assert max(np.abs(back[name] - trained[name]).max() for name in trained) < 1e-12 * 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_round_trip_gives_the_trained_nets_forward(number):
    blueprint = published_blueprint() if number % 2 else tiny_blueprint()
    rng = np.random.default_rng(number)
    plan = expansion.plan(blueprint, blueprint.reference, blueprint.depth)
    trained = {name: torch.from_numpy(0.3 * rng.standard_normal(shape)) for name, shape in plan.layout.items()}
    back = expansion.expand(plan, expansion.project(blueprint, trained, blueprint.depth))
    patches = torch.from_numpy(rng.standard_normal((4, blueprint.tokens, 3 * blueprint.patch**2)))
    ours = net.features(blueprint, blueprint.reference, back, patches)
    assert torch.allclose(ours, net.features(blueprint, blueprint.reference, trained, patches), atol=1e-10, rtol=0)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_the_bytes_of_a_descendant_are_those_of_the_specification(case):
    """SPEC.md section 8: D(G0), and then each term of D(sum of weight * delta), product and sum rounded one by one."""
    blueprint, size, weights, number = case
    rng = np.random.default_rng(number)
    seed = random_gene(blueprint, blueprint.seed.components, rng)
    deltas = [random_gene(blueprint, blueprint.components, rng, np.float16) for _ in weights]
    total = {name: np.zeros_like(array, dtype=np.float32) for name, array in deltas[0].items()}
    for weight, delta in zip(weights, deltas, strict=True):
        for name, array in delta.items():
            total[name] = total[name] + np.float32(round(weight * 1000) / 1000) * array.astype(np.float32)
    expected = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), seed)
    for target in expansion.plan(blueprint, size, blueprint.components).targets:
        for source, coefficient in target.terms:
            expected[target.name] = expected[target.name] + np.float32(coefficient) * target.cut(total[source])
    members = [
        (round(w * 1000), flat(blueprint, delta).astype(np.float16)) for w, delta in zip(weights, deltas, strict=True)
    ]
    built = descendant.build(blueprint, size, flat(blueprint, seed), members)
    body = np.frombuffer(built[len(descendant.model_header(blueprint, size)) :], dtype=np.float32)
    assert body[: blueprint.params(size)].tobytes() == b"".join(array.tobytes() for array in expected.values())
    assert not body[blueprint.params(size) :].any()
    assert len(built) == descendant.total_bytes(blueprint, size)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_writing_into_a_buffer_gives_the_bytes_of_expanding_by_name(case):
    blueprint, size, _, number = case
    gene = random_gene(blueprint, blueprint.seed.components, np.random.default_rng(number))
    plan = expansion.plan(blueprint, size, blueprint.seed.components)
    expected = b"".join(array.tobytes() for array in expansion.expand(plan, gene).values())
    out = np.full(blueprint.params(size), np.nan, np.float32)
    algebra.expand_into(plan, gene, out)
    assert out.tobytes() == expected


def test_every_finite_float16_is_widened_and_weighed_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    for weight in (1.0, -1.0, 0.333, -0.001, 4.0, 1e-3, 1.999):
        out = np.zeros(every.size, np.float32)
        algebra.accumulate(out, [(weight, every)])
        expected = np.float32(0) + np.float32(weight) * every.astype(np.float32)
        assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_combining_is_the_same_bytes_however_the_blocks_fall(dtype):
    rng = np.random.default_rng(0)
    seed = rng.standard_normal(200_001).astype(np.float32)
    members = [(w, rng.standard_normal(150_003).astype(dtype)) for w in (0.5, -0.25, 1.0)]
    expected = seed.copy()
    for weight, delta in members:
        expected[: delta.size] += np.float32(weight) * delta.astype(np.float32)
    assert algebra.combine(seed, members).tobytes() == expected.tobytes()


@settings(max_examples=20, deadline=None)
@given(cases())
def test_a_gene_of_fewer_components_is_a_prefix_of_a_longer_one(case):
    blueprint, *_ = case
    short = list(expansion.gene_layout(blueprint, blueprint.components).items())
    assert list(expansion.gene_layout(blueprint, blueprint.seed.components).items())[: len(short)] == short


@settings(max_examples=40, deadline=None)
@given(blueprints())
def test_the_parameter_count_is_what_the_plan_holds(blueprint):
    for size in blueprint.sizes():
        layout = expansion.plan(blueprint, size, 3).layout
        assert algebra.elements(layout) == blueprint.params(size)
        assert descendant.total_bytes(blueprint, size) <= blueprint.most_bytes(size)


@pytest.mark.parametrize(
    "blueprint",
    [
        tiny_blueprint(),
        published_blueprint(),
        published_blueprint(pooling="avg"),
        tiny_blueprint(layer_scale=True),
    ],
    ids=["plain", "published", "averaged", "scaled"],
)
def test_the_net_is_timms_vision_transformer(blueprint):
    import timm

    rng = np.random.default_rng(1)
    for size in (blueprint.sizes()[0], blueprint.reference, blueprint.sizes()[-1]):
        gene = net.as_tensors(seed_gene(blueprint, rng))
        weights = expansion.expand(expansion.plan(blueprint, size, 3), gene)
        model = timm.create_model(
            descendant.TIMM_ARCHITECTURE, num_classes=0, norm_layer=None, **descendant.model_args(blueprint, size)
        ).eval()
        model.load_state_dict(weights, strict=True)
        pixels = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
        images = to_images(blueprint, pixels)
        with torch.inference_mode():
            assert torch.allclose(model(images), net.embed(blueprint, size, weights, pixels), atol=1e-5)
