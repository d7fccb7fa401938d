"""Strict tensor files: every rule refuses; what is written the safetensors library reads, and the other way round."""

import hashlib
import inspect
import re

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from genepool_protocol.learngene import tensors
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from tests.support.hostile import HOSTILE


def reason_of(function, *args) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        function(*args)
    return caught.value


def arrays(rng=None, dtype=np.float32) -> dict:
    rng = rng or np.random.default_rng(0)
    shapes = {"z": (3, 4), "a.weight": (2, 1, 5, 2), "scalar": (), "b_-.9": (7,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize(("rule", "what", "raw"), HOSTILE, ids=[f"{rule}: {what}" for rule, what, _ in HOSTILE])
def test_a_hostile_file_is_refused_by_its_rule(tmp_path, rule, what, raw):
    found = reason_of(tensors.parse_header, raw[: 8 + LIMITS.header_bytes], len(raw))
    assert (found.reason, found.metadata["rule"]) == ("SAFETENSORS_MALFORMED", rule)
    if len(raw) <= LIMITS.learngene_bytes:  # the file's own limit is a terabyte
        path = tmp_path / "file.safetensors"
        path.write_bytes(raw)
        assert reason_of(tensors.TensorFile, path).metadata["rule"] == rule


def test_every_rule_has_a_hostile_file():
    rules = set(re.findall(r'_bad\("([A-Z_]+)"', inspect.getsource(tensors)))
    assert {rule for rule, _, _ in HOSTILE} == rules


@pytest.mark.parametrize("name", ["F32", "F16"])
def test_the_safetensors_library_reads_what_is_written(name):
    written = arrays(dtype=tensors.DTYPES[name])
    found = safetensors.numpy.load(tensors.encode(written, name))
    assert found.keys() == written.keys()
    for key, array in written.items():
        assert (found[key].dtype, found[key].shape, found[key].tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_the_safetensors_library_writes_is_read(tmp_path, dtype):
    written = arrays(dtype=dtype)
    path = tmp_path / "file.safetensors"
    safetensors.numpy.save_file(written, path, {"format": "pt"})
    file = tensors.TensorFile(path)
    assert file.header.layout.keys() == written.keys()
    for key, array in written.items():
        assert np.array_equal(file.array(key), array)
        assert file.array(key).dtype == array.dtype
        assert np.array_equal(file.all()[key], array.astype(np.float32))


def test_tensors_keep_the_order_in_which_they_lie(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors.encode(arrays(), "F32"))
    file = tensors.TensorFile(path)
    assert list(file.header.layout.items()) == [(name, array.shape) for name, array in arrays().items()]
    assert file.header.length % 8 == 0
    assert file.header.length == len(tensors.header_bytes(file.header.layout, "F32"))


def test_a_file_is_read_only_and_flat_without_a_copy(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors.encode(arrays(), "F32"))
    file = tensors.TensorFile(path)
    layout = file.header.layout
    flat = file.flat(layout)
    assert flat.tobytes() == b"".join(array.tobytes() for array in arrays().values())
    first_two = dict(list(layout.items())[:2])
    assert file.flat(first_two).tobytes() == flat.tobytes()[: 4 * (12 + 20)]
    with pytest.raises(ValueError, match="read-only"):
        flat[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        file.array("z")[0] = 1.0


def test_a_flat_view_of_other_tensors_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors.encode(arrays(), "F32"))
    file = tensors.TensorFile(path)
    layout = file.header.layout
    names = list(layout)
    others = [
        {**layout, "more": (1,)},
        {names[1]: layout[names[1]]},
        {names[0]: (4, 3)},
        dict(reversed(layout.items())),
    ]
    for other in others:
        assert reason_of(file.flat, other).reason == "ARCH_MISMATCH"


def test_a_flat_view_of_mixed_dtypes_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float16)}, path)
    file = tensors.TensorFile(path)
    assert reason_of(file.flat, file.header.layout).reason == "ARCH_MISMATCH"
    assert file.flat({"a": (2,)}).tolist() == [0, 0]


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert reason_of(tensors.TensorFile, tmp_path / "none").reason == "FILE_MALFORMED"
    assert reason_of(tensors.TensorFile, tmp_path).reason == "FILE_MALFORMED"


def test_a_mapped_file_survives_its_replacement(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors.encode({"a": np.ones(4, np.float32)}, "F32"))
    file = tensors.TensorFile(path)
    (tmp_path / "new").write_bytes(tensors.encode({"a": np.zeros(4, np.float32)}, "F32"))
    (tmp_path / "new").replace(path)
    assert file.array("a").tolist() == [1, 1, 1, 1]


def test_not_a_number_is_the_content_checks_business(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensors.encode({"a": np.array([np.nan, np.inf], np.float32)}, "F32"))
    assert np.isnan(tensors.TensorFile(path).array("a")[0])


def test_the_tensor_digest_ignores_order_and_header(tmp_path):
    written = arrays()
    digests = []
    for number, order in enumerate([list(written), sorted(written), list(reversed(written))]):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(tensors.encode({name: written[name] for name in order}, "F32"))
        digests.append(tensors.TensorFile(path).tensor_digest())
    assert len(set(digests)) == 1
    expected = hashlib.sha256()
    for name in sorted(written):
        shape = ",".join(map(str, written[name].shape))
        label = f"{name}\0F32\0{shape}".encode()
        expected.update(len(label).to_bytes(8, "little") + label)
        expected.update(hashlib.sha256(written[name].tobytes()).hexdigest().encode())
    assert digests[0] == expected.hexdigest()


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_the_tensor_digest_sees_every_change(tmp_path, change):
    base, other = {"a": np.ones((2, 3), np.float32)}, {"a": np.ones((2, 3), np.float32)}
    dtype = "F32"
    match change:
        case "value":
            other["a"][0, 0] = -1
        case "name":
            other = {"b": other["a"]}
        case "shape":
            other = {"a": other["a"].reshape(3, 2)}
        case "dtype":
            dtype = "F16"
    paths = [tmp_path / "base", tmp_path / "other"]
    paths[0].write_bytes(tensors.encode(base, "F32"))
    paths[1].write_bytes(tensors.encode(other, dtype))
    assert len({tensors.TensorFile(path).tensor_digest() for path in paths}) == 2


def test_the_stock_library_is_laxer():
    """Why this module exists: files that safetensors takes and we do not."""
    taken = []
    for rule, what, raw in HOSTILE:
        try:
            safetensors.numpy.load(raw)
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError):
            continue
        taken.append((rule, what))
    assert ("HEADER_JSON", "tensor twice") in taken
    assert ("TENSOR_NAME", "path") in taken
