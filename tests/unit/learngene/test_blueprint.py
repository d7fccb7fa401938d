"""Blueprints: canonical, consistent, and budgets that are kept."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene import algebra, descendant
from genepool_protocol.learngene.blueprint import Blueprint, blueprint_folder, bundled_folder, parse_blueprint
from genepool_protocol.learngene.manifest import file_layout
from genepool_protocol.learngene.size import Budget, Size, sizes
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS
from tests.support.genes import published_blueprint, tiny_blueprint, write_seed
from tests.support.refusals import reason_of


def space(**changes) -> dict:
    """A key space of the tiny blueprint's sixteen features."""
    return {"centre": ["0"] * 16, "scale": ["1"] * 16, "width": 16, "clip": "3"} | changes


def changed(**changes) -> bytes:
    return strict_json.canonical(json.loads(tiny_blueprint().canonical()) | changes)


@pytest.mark.parametrize("name", ["schema", "basis", "norm_eps", "narrowest", "class_token", "layer_scale", "pooling"])
def test_a_blueprint_whose_digest_would_be_another_is_refused(name):
    value = json.loads(tiny_blueprint().canonical())
    old = value.pop(name)
    assert reason_of(parse_blueprint, strict_json.canonical(value)) == "BLUEPRINT_MALFORMED"
    assert reason_of(parse_blueprint, strict_json.canonical(value | {f"{name}_": old})) == "BLUEPRINT_MALFORMED"


def test_a_blueprint_survives_its_bytes():
    blueprint = tiny_blueprint()
    assert parse_blueprint(blueprint.canonical()) == blueprint
    assert blueprint.sha256 == digest.sha256_hex(blueprint.canonical())


def test_only_canonical_bytes_are_a_blueprint():
    assert reason_of(parse_blueprint, json.dumps(json.loads(tiny_blueprint().canonical())).encode()) == "JSON_MALFORMED"
    assert reason_of(parse_blueprint, tiny_blueprint().canonical() + b"\n") == "JSON_MALFORMED"


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "genepool.blueprint/v2"},
        {"basis": "dct-v2"},
        {"name": "Tiny"},
        {"name": "-tiny"},
        {"extra": 1},
        {"image": 18},
        {"image": "16"},
        {"image": 4},
        {"patch": 0},
        {"head_dim": 4},
        {"heads": 0},
        {"depth": 6},
        {"depths": [2, 2]},
        {"depths": [0, 5]},
        {"depths": [4, 5]},
        {"depths": [1]},
        {"depths": [1, 85]},
        {"components": 4},
        {"components": 0},
        {"mean": ["0.5", "0.5"]},
        {"std": ["0.5", "0", "0.5"]},
        {"std": ["0.5", "-1", "0.5"]},
        {"std": ["0.5", "half", "0.5"]},
        {"norm_eps": "1e-5"},
        {"norm_eps": 1},
        {"narrowest": 3},
        {"narrowest": 0},
        {"narrowest": 2},
        {"pooling": "token"},
        {"pooling": "max"},
        {"class_token": 1},
        {"layer_scale": "yes"},
        {"basis": "dct-pick-v1"},
        {"key": {"depth": 2, "heads": 3}},
        {"key_space": space(width=3)},
        {"key_space": space(width=32)},
        {"key_space": space(width=0)},
        {"key_space": space(centre=["0"] * 8)},
        {"key_space": space(scale=["0"] * 16)},
        {"key_space": space(clip="0")},
        {"key": {"depth": 6, "heads": 1}},
        {"score": {"depth": 2, "heads": 3}},
        {"score": {"depth": 2, "heads": 1, "more": 1}},
        {"seed": {"components": 3, "sha256": "0" * 64, "size": 1}},
        {"seed": {"components": 3, "sha256": "sha256:" + "0" * 64, "size": 0}},
        {"seed": {"components": 3, "sha256": "sha256:" + "0" * 64, "size": LIMITS.seed_bytes + 1}},
    ],
)
def test_a_blueprint_that_contradicts_itself_is_refused(change):
    assert reason_of(parse_blueprint, changed(**change)) == "BLUEPRINT_MALFORMED"


@pytest.mark.parametrize("width", [16, 8, 1])
def test_a_key_is_as_wide_as_its_space_says(width):
    blueprint = parse_blueprint(changed(key_space=space(width=width)))
    assert blueprint.embedding_width == blueprint.embedding_frame.width == width
    assert file_layout(blueprint)["key.mean"] == (width,)


@pytest.mark.parametrize("size", [Size(0, 1), Size(6, 1), Size(1, 0), Size(1, 3)])
def test_a_size_outside_is_refused(size):
    blueprint = tiny_blueprint()
    assert reason_of(blueprint.check, size) == "SIZE_OUTSIDE_BLUEPRINT"
    assert reason_of(blueprint.resolve, Budget(size=size)) == "SIZE_OUTSIDE_BLUEPRINT"


@pytest.mark.parametrize("size", [Size(2, 1), Size(1, 2), Size(5, 2)])
def test_a_blueprint_of_one_width_has_no_other(size):
    blueprint = published_blueprint()
    assert reason_of(blueprint.check, size) == "SIZE_OUTSIDE_BLUEPRINT"
    assert blueprint.sizes() == [Size(2, 2), Size(3, 2), Size(4, 2)]
    assert blueprint.resolve(Budget(max_params=blueprint.params(Size(3, 2)))) == Size(3, 2)
    assert reason_of(blueprint.resolve, Budget(max_params=blueprint.params(Size(2, 2)) - 1)) == "BUDGET_TOO_SMALL"


def test_a_size_inside_is_kept():
    assert tiny_blueprint().resolve(Budget(size=Size(5, 2))) == Size(5, 2)


@given(st.integers(0, 200_000))
def test_a_budget_of_parameters_gets_the_largest_that_fits(most):
    blueprint = tiny_blueprint()
    fitting = [size for size in sizes((1, 5), (1, 2)) if blueprint.params(size) <= most]
    if not fitting:
        assert reason_of(blueprint.resolve, Budget(max_params=most)) == "BUDGET_TOO_SMALL"
    else:
        found = blueprint.resolve(Budget(max_params=most))
        assert blueprint.params(found) == max(map(blueprint.params, fitting))


@given(st.integers(0, 400_000))
def test_a_budget_of_bytes_is_never_exceeded_and_nearly_used(most):
    blueprint = tiny_blueprint()
    fitting = [size for size in sizes((1, 5), (1, 2)) if descendant.total_bytes(blueprint, size) + 8192 <= most]
    try:
        found = blueprint.resolve(Budget(max_bytes=most))
    except InvalidInput:
        assert not fitting
    else:
        assert descendant.total_bytes(blueprint, found) <= most
        assert blueprint.params(found) >= max(map(blueprint.params, fitting), default=0)


def rows_of(blueprint: Blueprint, scores: dict[Size, int]) -> list[dict]:
    """The table of sizes with these scores, in thousandths."""
    return [
        {
            "depth": size.depth,
            "heads": size.heads,
            "params": blueprint.params(size),
            "bytes": blueprint.most_bytes(size),
            "score": f"0.{score:03d}",
        }
        for size, score in sorted(scores.items())
    ]


TABLES = st.dictionaries(st.sampled_from(list(sizes((1, 5), (1, 2)))), st.integers(0, 999), min_size=1)


@given(TABLES, st.integers(0, 200_000))
def test_a_budget_gets_the_best_measured_size_that_fits_and_of_equals_the_smallest(scores, most):
    blueprint = parse_blueprint(changed(sizes=rows_of(tiny_blueprint(), scores)))
    for cost, budget in ((blueprint.params, Budget(max_params=most)), (blueprint.most_bytes, Budget(max_bytes=most))):
        fitting = {size: scores[size] for size in scores if cost(size) <= most}
        if not fitting:
            assert reason_of(blueprint.resolve, budget) == "BUDGET_TOO_SMALL"
        else:
            found = blueprint.resolve(budget)
            equals = [size for size in fitting if fitting[size] == max(fitting.values())]
            assert found in equals
            assert blueprint.params(found) == min(map(blueprint.params, equals))


def test_a_table_of_sizes_that_contradicts_its_blueprint_is_refused():
    blueprint = tiny_blueprint()
    good = rows_of(blueprint, {Size(1, 1): 500, Size(2, 1): 600})
    assert len(parse_blueprint(changed(sizes=good)).measured) == 2
    for bad in (
        good[::-1],
        [good[0], good[0]],
        [good[0] | {"params": 1}],
        [good[0] | {"bytes": good[0]["bytes"] + 1}],
        [good[0] | {"score": "half"}],
        [good[0] | {"depth": 6}],
        [good[0] | {"heads": 3}],
        [good[0] | {"more": 1}],
    ):
        assert reason_of(parse_blueprint, changed(sizes=bad)) == "BLUEPRINT_MALFORMED"


def test_a_budget_of_bytes_holds_for_the_widest_and_deepest_family():
    blueprint = tiny_blueprint(image=1024, patch=4, head_dim=256, heads=64, mlp_ratio=8, depths=[1, 84])
    for size in (Size(1, 1), Size(84, 1), Size(84, 64), Size(1, 64)):
        exact = descendant.total_bytes(blueprint, size)
        assert exact <= blueprint.most_bytes(size) <= exact + (48 << 10)


def test_what_ships_inside_the_package_is_whole():
    folder = bundled_folder("nano-32")
    blueprint = parse_blueprint((folder / "blueprint.json").read_bytes())
    seed = folder / "seed.safetensors"
    assert blueprint.name == "nano-32"
    assert f"sha256:{digest.sha256_file(seed)}" == blueprint.seed.sha256
    assert seed.stat().st_size == blueprint.seed.size
    assert np.isfinite(TensorFile(seed).all()["norm.weight"]).all()


def test_the_published_blueprint_is_named_and_ships_without_its_seed():
    folder = bundled_folder("vit-s14")
    blueprint = parse_blueprint((folder / "blueprint.json").read_bytes())
    assert not (folder / "seed.safetensors").exists()
    assert blueprint.seed.components == blueprint.depth == 12
    assert len(blueprint.sizes()) >= 8
    assert 8 * 2 * algebra.elements(file_layout(blueprint)) <= 4 * blueprint.params(blueprint.reference)


def test_a_folder_goes_before_a_bundled_blueprint_and_a_folder_without_one_is_none(tmp_path):
    write_seed(tmp_path / "tiny", np.random.default_rng(0))
    assert blueprint_folder(str(tmp_path / "tiny")) == tmp_path / "tiny"
    assert blueprint_folder("nano-32") == bundled_folder("nano-32")
    assert reason_of(blueprint_folder, str(tmp_path)) == "BLUEPRINT_UNKNOWN"


def test_the_table_that_ships_knows_every_size_and_chooses_by_worth():
    blueprint = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
    scores = {row.size(): float(row.score) for row in blueprint.measured}
    assert set(scores) == set(blueprint.sizes())
    assert all(0.2 < score < 1 for score in scores.values())
    for most in (200_000, 500_000, 1_000_000, 10**9):
        found = blueprint.resolve(Budget(max_params=most))
        assert scores[found] == max(score for size, score in scores.items() if blueprint.params(size) <= most)


def test_an_unknown_blueprint_is_answered_with_the_known_ones():
    with pytest.raises(GenepoolError) as caught:
        bundled_folder("../nano-32")
    assert caught.value.reason == "BLUEPRINT_UNKNOWN"
    assert "nano-32" in caught.value.fix


def test_a_written_seed_is_named_by_its_blueprint(tmp_path):
    blueprint = write_seed(tmp_path / "tiny", np.random.default_rng(0))
    assert isinstance(blueprint, Blueprint)
    assert parse_blueprint((tmp_path / "tiny" / "blueprint.json").read_bytes()) == blueprint
