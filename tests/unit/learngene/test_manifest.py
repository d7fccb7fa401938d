"""Manifests: what a site states, strictly."""

import json

import pytest

from genepool_protocol.learngene.manifest import check_architecture, file_layout, parse_manifest
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.errors import InvalidInput
from tests.support.genes import tiny_blueprint
from tests.support.sites import manifest_for

BLUEPRINT = tiny_blueprint()
MANIFEST = manifest_for(BLUEPRINT)


def refused(function, *args) -> str:
    with pytest.raises(InvalidInput) as caught:
        function(*args)
    return caught.value.reason


def changed(**changes) -> bytes:
    return strict_json.canonical(json.loads(MANIFEST.canonical()) | changes)


def inside(member: str, **changes) -> bytes:
    return changed(**{member: json.loads(MANIFEST.canonical())[member] | changes})


def test_a_manifest_survives_its_bytes():
    assert parse_manifest(MANIFEST.canonical()) == MANIFEST
    check_architecture(MANIFEST, BLUEPRINT)


@pytest.mark.parametrize("intensity", ["-1024,3071", "0,65535", "0.25,1"])
def test_what_was_black_and_white_is_stated_only_where_pixels_were_deep(intensity):
    assert b"intensity" not in MANIFEST.canonical()
    raw = inside("training", intensity=intensity)
    assert parse_manifest(raw).training.intensity == intensity
    assert parse_manifest(raw).canonical() == raw


@pytest.mark.parametrize("intensity", ["", "1", "1e3,2e3", "0,1,2", "a,b", "0, 1", "12345678901,1"])
def test_another_way_to_state_it_is_refused(intensity):
    assert refused(parse_manifest, inside("training", intensity=intensity)) == "MANIFEST_MALFORMED"


def test_only_canonical_bytes_are_a_manifest():
    assert refused(parse_manifest, json.dumps(json.loads(MANIFEST.canonical()), indent=1).encode()) == "JSON_MALFORMED"


@pytest.mark.parametrize("place", [(), ("file",), ("privacy",)])
def test_a_member_that_is_left_out_or_renamed_is_refused_although_only_one_value_is_allowed(place):
    names = {(): ("schema", "basis"), ("file",): ("name",), ("privacy",): ("mechanism",)}[place]
    for name in names:
        for other in (None, f"{name}_"):
            value = json.loads(MANIFEST.canonical())
            inner = value[place[0]] if place else value
            old = inner.pop(name)
            inner.update({other: old} if other else {})
            assert refused(parse_manifest, strict_json.canonical(value)) == "MANIFEST_MALFORMED"


@pytest.mark.parametrize("name", ["x" * 10_000, "\x1b[2Jgone", "\u202e"])
def test_a_refusal_shows_little_of_a_foreign_name_and_no_control_character(name):
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(changed(**{name: 1}))
    assert caught.value.reason == "MANIFEST_MALFORMED"
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


def test_a_manifest_gives_no_image_away():
    """Numbers, names and digests: no member holds free text beyond the software's name."""
    assert set(json.loads(MANIFEST.canonical())) == {
        "schema", "pool", "site", "seq", "prev", "nonce", "not_after", "observed", "blueprint", "basis", "file",
        "tensors", "training", "privacy", "license",
    }  # fmt: skip


TENSOR = json.loads(MANIFEST.canonical())["tensors"][0]


@pytest.mark.parametrize(
    "raw",
    [
        changed(schema="genepool.manifest/v2"),
        changed(extra=1),
        changed(pool="x" * 256),
        changed(site="North"),
        changed(site="-north"),
        changed(site="n" * 64),
        changed(seq=0),
        changed(seq="1"),
        changed(seq=True),
        changed(prev="0" * 63),
        changed(prev="A" * 64),
        changed(nonce="n" * 42),
        changed(nonce="+" * 43),
        changed(not_after="2030-01-01"),
        changed(not_after="2030-01-01T00:00:00+00:00"),
        changed(not_after="2030-13-01T00:00:00Z"),
        changed(not_after="2030-02-30T00:00:00Z"),
        changed(not_after="2030-01-01T24:00:00Z"),
        changed(blueprint="0" * 64),
        changed(basis="dct-v2"),
        changed(license="MIT OR Apache-2.0"),
        changed(license=""),
        changed(tensors=[]),
        changed(tensors=[TENSOR] * 1025),
        changed(tensors=[TENSOR | {"dtype": "BF16"}]),
        changed(tensors=[TENSOR | {"name": "../x"}]),
        changed(tensors=[TENSOR | {"shape": [0]}]),
        changed(tensors=[TENSOR | {"shape": [1] * 5}]),
        changed(tensors=[TENSOR | {"more": 1}]),
        inside("observed", size=-1),
        inside("observed", root="x"),
        inside("observed", root="A" * 44),
        inside("file", name="other.safetensors"),
        inside("file", size=0),
        inside("file", sha256="sha256:" + "0" * 64),
        inside("training", images=-1),
        inside("training", software="x" * 65),
        inside("privacy", mechanism="magic"),
        inside("privacy", epsilon="1"),  # attack 70: a claim that nobody could recompute
        inside("privacy", mechanism="dp-sgd"),
        inside("privacy", key={"epsilon": "1"}),
    ],
)
def test_every_other_manifest_is_refused(raw):
    assert refused(parse_manifest, raw) == "MANIFEST_MALFORMED"


def test_a_refusal_names_the_member_and_not_its_value():
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(changed(license="a secret text"))
    assert "license" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_learngene_file_is_the_gene_and_then_its_key():
    layout = file_layout(BLUEPRINT)
    assert next(iter(layout)) == "patch_embed.proj.weight"
    assert list(layout.items())[-1:] == [("key.mean", (16,))]


def tensors_changed(edit):
    tensors = list(MANIFEST.tensors)
    edit(tensors)
    return MANIFEST.model_copy(update={"tensors": tensors})


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: t.pop(),
        lambda t: t.pop(0),
        lambda t: t.append(t[0].model_copy(update={"name": "more"})),
        lambda t: t.reverse(),
        lambda t: t.__setitem__(3, t[3].model_copy(update={"shape": [1]})),
        lambda t: t.__setitem__(3, t[3].model_copy(update={"name": "renamed"})),
        lambda t: t.__setitem__(3, t[3].model_copy(update={"dtype": "F32"})),
    ],
)
def test_other_tensors_than_the_blueprints_are_refused(edit):
    assert refused(check_architecture, tensors_changed(edit), BLUEPRINT) == "ARCH_MISMATCH"


def test_a_manifest_of_another_blueprint_is_refused():
    other = tiny_blueprint(name="other-16")
    assert refused(check_architecture, MANIFEST, other) == "ARCH_MISMATCH"
