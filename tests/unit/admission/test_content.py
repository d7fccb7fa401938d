"""Checks 14 to 16: the bytes of learngene.safetensors, however well they were signed."""

import struct

import numpy as np
import pytest

from genepool_protocol.learngene import tensors
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.admission import content
from tests.support import sites as c


def reason_of(world, packed, sent=None):
    """The reason that the commit gives, after which neither weights nor upload are kept."""
    upload_id = c.upload(world.pool, packed, weights=sent)
    with pytest.raises(GenepoolError) as caught:
        world.pool.contributions.intake.commit(upload_id, c.NOW)
    root = world.scratch / "pool"
    assert not list((root / "spool").iterdir())
    assert not list((root / "blobs").glob("*/*"))
    assert world.pool.heads.latest().split("\n")[1] == "2", "the site's own entries and nothing else"
    return caught.value.reason


def pack(world, weights, **changes):
    return world.site.pack(world.pool, weights, **changes)


def changed(world, name, value):
    """A gene with one value replaced."""
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    gene[name].reshape(-1)[-1] = value
    return tensors.encode(gene, "F16")


def test_one_flipped_byte_of_the_weights_is_refused(world):
    for at in (0, 9, 700, len(world.weights) - 1):
        sent = bytearray(world.weights)
        sent[at] ^= 1
        assert reason_of(world, world.packed, bytes(sent)) == "DIGEST_MISMATCH"


def test_the_upload_can_be_repeated_after_a_wrong_digest(world):
    reason_of(world, world.packed, bytes(len(world.weights)))
    done = c.submit(world.pool, world.packed)
    assert world.pool.contributions.get(done.contribution_id).path.read_bytes() == world.weights


@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "a1.mlp.fc2.bias", "key.mean"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.frombuffer(b"\x01\x7d", "<f2")[0]])
def test_a_value_that_is_not_finite_is_refused(world, name, value):
    assert reason_of(world, pack(world, changed(world, name, value))) == "NON_FINITE"


def test_a_single_huge_value_is_refused(world):
    assert reason_of(world, pack(world, changed(world, "norm.bias", -1001))) == "NORM_BOUND"
    assert reason_of(world, pack(world, changed(world, "key.mean", 2000))) == "NORM_BOUND"


def test_a_learngene_much_longer_than_the_seed_is_refused(world):
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    longer = {name: array * np.float16(60) for name, array in gene.items()}
    assert reason_of(world, pack(world, tensors.encode(longer, "F16"))) == "NORM_BOUND"


def test_the_norm_bound_is_where_it_is_said_to_be(world):
    loaded = world.pool.blueprint(c.BLUEPRINT)
    seed = tensors.TensorFile(loaded.seed_path)
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    names = [name for name in gene if not name.startswith("key.")]
    norm = np.sqrt(sum(np.sum(gene[name].astype(np.float64) ** 2) for name in names))
    limit = 2 * np.sqrt(sum(np.sum(seed.array(name).astype(np.float64) ** 2) for name in names))
    path = world.scratch / "scaled.safetensors"
    for factor, allowed in ((0.999, True), (1.001, False)):
        scaled = {name: array.astype(np.float32) * np.float32(factor * limit / norm) for name, array in gene.items()}
        path.write_bytes(tensors.encode(scaled, "F32"))
        try:
            content.check_values(loaded, tensors.TensorFile(path))
        except GenepoolError as exc:
            assert exc.reason == "NORM_BOUND"
            assert not allowed
        else:
            assert allowed


def test_every_float16_has_the_magnitude_that_numpy_gives_it():
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = values[np.isfinite(values)]
    assert np.array_equal(content._magnitudes(finite), np.abs(finite.astype(np.float32)))
    with np.errstate(all="ignore"):
        for value in values[~np.isfinite(values)]:
            assert not np.isfinite(content._magnitudes(np.array([1, value], dtype=np.float16)).max())


def test_denormals_and_negative_zero_are_fine(world):
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    gene["norm.bias"][:2] = [np.float16(6e-8), np.float16(-0.0)]
    done = c.submit(world.pool, pack(world, tensors.encode(gene, "F16")))
    assert done.state == "ACTIVE"


def test_float32_learngenes_are_fine(world):
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    assert c.submit(world.pool, pack(world, tensors.encode(gene, "F32"))).state == "ACTIVE"


def header_of(weights):
    (length,) = struct.unpack("<Q", weights[:8])
    return weights[8 : 8 + length], weights[8 + length :]


def with_header(header, data):
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    "edit",
    [
        lambda head: head.replace(b'"a0.norm1.bias"', b'"a0.norm1.weight"', 1),
        lambda head: head.replace(b'{"format":"pt"}', b'{"format":"np"}'),
        lambda head: head.replace(b'"dtype":"F16"', b'"dtype":"BF16"', 1),
        lambda head: b" " + head,
        lambda head: head.replace(b'"shape"', b'"shape":[1],"shape"', 1),
    ],
    ids=["twice", "metadata", "dtype", "blank", "member"],
)
def test_a_header_that_breaks_a_rule_is_refused_although_it_was_signed(world, edit):
    head, data = header_of(world.weights)
    bad = with_header(edit(head), data)
    assert bad != world.weights
    honest = c.file_ref(world.weights)
    file = honest.model_copy(update={"size": len(bad), "sha256": c.digest.sha256_hex(bad)})
    packed = pack(world, bad, file=file, tensors=c.tensor_refs(world.weights))
    assert reason_of(world, packed) == "SAFETENSORS_MALFORMED"


def test_a_truncated_or_longer_file_is_refused_although_it_was_signed(world):
    honest = c.file_ref(world.weights)
    for bad in (world.weights[:-8], world.weights + bytes(8)):
        file = honest.model_copy(update={"size": len(bad), "sha256": c.digest.sha256_hex(bad)})
        packed = pack(world, bad, file=file, tensors=c.tensor_refs(world.weights))
        assert reason_of(world, packed) == "SAFETENSORS_MALFORMED"


def test_a_file_with_other_tensors_than_its_manifest_says_is_refused(world):
    gene = c.gene(world.blueprint, np.random.default_rng(1))
    other = tensors.encode({name: gene[name] for name in ("norm.bias", *(n for n in gene if n != "norm.bias"))}, "F16")
    packed = pack(world, other, tensors=c.tensor_refs(world.weights))
    assert reason_of(world, packed) == "ARCH_MISMATCH"


def test_a_wrong_tensor_digest_is_refused(world):
    file = c.file_ref(world.weights).model_copy(update={"tensor_digest": "0" * 64})
    assert reason_of(world, pack(world, world.weights, file=file)) == "DIGEST_MISMATCH"
