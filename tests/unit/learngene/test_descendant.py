"""A descendant's documents: read back exactly, or refused."""

import json

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene import algebra, descendant, tensors
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net, pixels
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.errors import InvalidInput
from tests.support.genes import flat, published_blueprint, random_gene, seed_gene, tiny_blueprint

BLUEPRINT = tiny_blueprint()
LINEAGE = descendant.Lineage(
    blueprint="1" * 64,
    seed="2" * 64,
    depth=3,
    heads=2,
    model="3" * 64,
    origin="pool.local/log",
    software="0.1.0",
    dependencies=[
        descendant.Dependency(
            contribution_id=f"{number:x}" * 64,
            site="north",
            license="CC0-1.0",
            milli=milli,
            sha256="4" * 64,
            log_index=7,
        )
        for number, milli in ((10, 333), (11, -1500))
    ],
)
RECEIPTS = descendant.Receipts(
    receipts=[descendant.ReceiptEntry(contribution_id="a" * 64, manifest="e30=", receipt="e30=", site_key_pem="pem")]
)


def refused(function, *args) -> str:
    with pytest.raises(InvalidInput) as caught:
        function(*args)
    return caught.value.reason


@given(st.integers(-(10**6), 10**6))
def test_a_weight_survives_its_text(milli):
    assert descendant.parse_weight(descendant.weight_text(milli)) == milli


@pytest.mark.parametrize(
    "text", ["", "1", "0.33", "0.3333", "00.333", "-0.000", "+0.333", " 0.333", "0,333", "x", ".333"]
)
def test_a_weight_has_one_spelling(text):
    with pytest.raises(ValueError, match=r".*"):
        descendant.parse_weight(text)


def test_a_lineage_survives_its_bytes():
    assert descendant.parse_provenance(descendant.provenance_json(LINEAGE)) == LINEAGE
    seed_only = LINEAGE.model_copy(update={"dependencies": []})
    assert descendant.parse_provenance(descendant.provenance_json(seed_only)) == seed_only
    assert LINEAGE.size == Size(3, 2)


def edited(edit) -> bytes:
    value = json.loads(descendant.provenance_json(LINEAGE))
    edit(value)
    return strict_json.canonical(value)


def learngene(value):
    return value["predicate"]["buildDefinition"]["resolvedDependencies"][1]


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(extra=1),
        lambda v: v.pop("_type"),
        lambda v: v.update(_type="https://in-toto.io/Statement/v2"),
        lambda v: v.update(predicateType="x"),
        lambda v: v.update(predicate=[]),
        lambda v: v["subject"].append(v["subject"][0]),
        lambda v: v["subject"].clear(),
        lambda v: v["subject"][0].update(name="other"),
        lambda v: v["predicate"]["buildDefinition"].update(buildType="https://genepool/descendant/v2"),
        lambda v: v["predicate"]["buildDefinition"].update(resolvedDependencies=[]),
        lambda v: v["predicate"]["buildDefinition"].update(resolvedDependencies={"seed": 1}),
        lambda v: v["predicate"]["buildDefinition"]["externalParameters"]["size"].update(depth="3"),
        lambda v: v["predicate"]["buildDefinition"]["externalParameters"]["size"].update(depth=0),
        lambda v: v["predicate"]["buildDefinition"].update(internalParameters={}),
        lambda v: learngene(v)["annotations"].update(weight="0.3330"),
        lambda v: learngene(v)["annotations"].update(weight=333),
        lambda v: learngene(v)["annotations"].update(log_index="07"),
        lambda v: learngene(v)["annotations"].update(log_index=" 7"),
        lambda v: learngene(v)["annotations"].update(log_index="-7"),
        lambda v: learngene(v)["annotations"].update(log_index="9" * 5000),
        lambda v: learngene(v)["annotations"].update(more="1"),
        lambda v: learngene(v)["annotations"].update(contribution_id="A" * 64),
        lambda v: learngene(v)["digest"].update(sha256="4" * 63),
        lambda v: learngene(v).update(name="seed"),
        lambda v: learngene(v).pop("annotations"),
        lambda v: v["predicate"]["runDetails"]["builder"].update(version={}),
    ],
)
def test_every_other_provenance_is_refused(edit):
    assert refused(descendant.parse_provenance, edited(edit)) == "STATEMENT_MALFORMED"


def test_a_provenance_that_is_not_canonical_is_refused():
    raw = json.dumps(json.loads(descendant.provenance_json(LINEAGE))).encode()
    assert refused(descendant.parse_provenance, raw) == "JSON_MALFORMED"


def test_receipts_survive_their_bytes():
    assert descendant.parse_receipts(RECEIPTS.canonical()) == RECEIPTS


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"schema": "genepool.receipts/v2", "receipts": []},
        {"schema": "genepool.receipts/v1", "receipts": [{}]},
        {"schema": "genepool.receipts/v1", "receipts": [], "more": 1},
    ],
)
def test_every_other_list_of_receipts_is_refused(value):
    assert refused(descendant.parse_receipts, strict_json.canonical(value)) == "FILE_MALFORMED"


def test_the_signed_files_are_the_documents_and_the_model():
    files = descendant.documents(BLUEPRINT, LINEAGE, RECEIPTS)
    assert sorted([*files, descendant.MODEL_FILE]) == sorted(descendant.SIGNED)
    card = files[descendant.CARD_FILE].decode()
    assert "| -1.500 | north | CC0-1.0 |" in card
    assert "genepool verify" in card
    bare = descendant.model_card(BLUEPRINT, LINEAGE.model_copy(update={"dependencies": []})).decode()
    assert "The seed alone" in bare


def members(rng, count=2, blueprint=BLUEPRINT):
    return [(500 * (n + 1), flat(blueprint, random_gene(blueprint, 2, rng)).astype(np.float16)) for n in range(count)]


@pytest.mark.parametrize("size", [Size(1, 1), Size(3, 2), Size(5, 2)])
def test_a_model_file_has_the_stated_length_and_a_zero_head(size):
    rng = np.random.default_rng(0)
    seed = flat(BLUEPRINT, seed_gene(BLUEPRINT, rng))
    raw = descendant.build(BLUEPRINT, size, seed, members(rng))
    header = tensors.parse_header(raw, len(raw))
    assert len(raw) == descendant.total_bytes(BLUEPRINT, size) <= BLUEPRINT.most_bytes(size)
    assert header.layout == descendant.layout(BLUEPRINT, size)
    assert not any(raw[-4 * (BLUEPRINT.width(size.heads) + 1) :])


def test_building_into_a_used_buffer_leaves_nothing_of_it():
    rng = np.random.default_rng(0)
    seed, size = flat(BLUEPRINT, seed_gene(BLUEPRINT, rng)), Size(2, 1)
    some = members(rng)
    out = np.full(algebra.elements(descendant.layout(BLUEPRINT, size)), np.nan, np.float32)
    descendant.build_into(BLUEPRINT, size, seed, some, out)
    assert (
        out.tobytes() == descendant.build(BLUEPRINT, size, seed, some)[len(descendant.model_header(BLUEPRINT, size)) :]
    )


@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("blueprint", [BLUEPRINT, published_blueprint()], ids=["plain", "published"])
def test_stock_timm_loads_the_folder(tmp_path, blueprint, classes):
    rng = np.random.default_rng(0)
    seed, size = flat(blueprint, seed_gene(blueprint, rng)), Size(4, 2)
    raw = descendant.build(blueprint, size, seed, members(rng, blueprint=blueprint))
    (tmp_path / descendant.MODEL_FILE).write_bytes(raw)
    (tmp_path / descendant.CONFIG_FILE).write_bytes(descendant.config_json(blueprint, size))
    options = {} if classes is None else {"num_classes": classes}
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, **options).eval()
    expected = tensors.TensorFile(tmp_path / descendant.MODEL_FILE).all()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if classes is None or not name.startswith("head."):
            assert np.array_equal(found[name].numpy(), array)
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, classes or 1)
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        seen = model.forward_head(model.forward_features(pixels.to_images(blueprint, images)), pre_logits=True)
    torch.testing.assert_close(seen, net.embed(blueprint, size, net.as_tensors(expected), images), atol=1e-5, rtol=0)
    config = timm.data.resolve_data_config({}, model=model)
    assert (config["input_size"], tuple(config["mean"]), tuple(config["std"])) == ((3, 16, 16), (0.5,) * 3, (0.5,) * 3)
