"""A pool that answers nonsense: the true answers, changed on their way, must be refused with a reason."""

from collections.abc import Iterator

import numpy as np
import pytest

from genepool_client.consumer.descendant import download
from genepool_protocol.learngene import tensors
from genepool_protocol.v1 import consume_pb2, types_pb2
from tests.support.refusals import reason_of


class Changed:
    """The answers of a true call, each passed through a function that may drop, change or add messages."""

    def __init__(self, call, change) -> None:
        self._call, self._change = call, change

    def __iter__(self) -> Iterator:
        for index, answer in enumerate(self._call):
            yield from self._change(index, answer)

    def cancel(self) -> None:
        self._call.cancel()


@pytest.fixture
def lie(pool, monkeypatch):
    """`lie(service, method, change)`: from now on this method's answers are changed."""

    def start(service, method, change):
        stub = getattr(pool._connection, service)
        true = getattr(stub, method)
        monkeypatch.setattr(stub, method, lambda request, **options: Changed(true(request, **options), change))

    monkeypatch.setattr(download, "_PAUSES", (0.0,))
    return start


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))


def key(**changes):
    """The first key with other members."""

    def change(index, answer):
        if index == 0:
            answer.MergeFrom(consume_pb2.ListKeysResponse(**changes))
        return [answer]

    return change


@pytest.mark.parametrize(
    "change",
    [
        key(key_mean=b"\x00" * 12),
        key(key_mean=b"\x00" * 68),
        key(key_mean=np.full(16, np.nan, "<f4").tobytes()),
        key(key_noise=-0.1),
        key(key_noise=float("inf")),
        key(key_noise=float("nan")),
        key(entry=types_pb2.Entry(contribution_id="../../etc/passwd")),
        lambda _index, answer: [answer, answer],
    ],
    ids=["short", "long", "nan", "noise below 0", "noise without end", "noise nan", "no id", "twice"],
)
def test_keys_that_are_none_are_refused(pool, lie, pictures, change):
    lie("select", "ListKeys", change)
    assert reason_of(pool.select, pictures) == "ARCH_MISMATCH"


def file_of(arrays) -> bytes:
    return tensors.encode(arrays, "F16")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"not a tensor file at all", "SAFETENSORS_MALFORMED"),
        (file_of({"norm.bias": np.zeros(8)}), "ARCH_MISMATCH"),
        (b"\x00" * (8 << 20), "ARCH_MISMATCH"),
    ],
    ids=["garbage", "other tensors", "too long"],
)
def test_thin_slices_that_are_none_are_refused_and_not_kept(pool, lie, pictures, tmp_path, raw, expected):
    def change(index, answer):
        return [type(answer)(contribution_id=answer.contribution_id, chunk=raw, last=True)] if index == 0 else [answer]

    lie("select", "GetThin", change)
    assert reason_of(pool.select, pictures) == expected
    assert not list((tmp_path / "cache" / "thin").rglob("*.safetensors"))


def test_a_thin_slice_that_is_not_finite_is_refused(pool, lie, pictures, tmp_path):
    def change(_index, answer):
        path = tmp_path / "slice"
        path.write_bytes(answer.chunk)
        arrays = tensors.TensorFile(path).all()
        arrays["norm.bias"][3] = np.inf
        answer.chunk = file_of(arrays)
        return [answer]

    lie("select", "GetThin", change)
    assert reason_of(pool.select, pictures) == "NON_FINITE"


def test_another_slice_than_was_asked_for_is_refused(pool, lie, pictures):
    def change(_index, answer):
        answer.contribution_id = "ab" * 32
        return [answer]

    lie("select", "GetThin", change)
    assert reason_of(pool.select, pictures) == "INTERNAL"


def test_slices_that_end_early_can_be_tried_again(pool, lie, pictures):
    lie("select", "GetThin", lambda index, answer: [answer] if index < 1 else [])
    assert reason_of(pool.select, pictures) == "POOL_UNREACHABLE"


@pytest.mark.parametrize(
    "weights",
    [
        lambda _first: [("ab" * 32, 1000)],
        lambda _first: [("", 1)],
        lambda first: [(first, 0)],
        lambda first: [(first, 500), (first, 500)],
    ],
    ids=["unknown", "no id", "zero", "twice"],
)
def test_remote_weights_that_no_selection_can_have_are_refused(pool, lie, pictures, weights):
    def change(_index, answer):
        if answer.WhichOneof("event") == "selection":
            pairs = weights(answer.selection.candidates[0].entry.contribution_id)
            del answer.selection.weights[:]
            answer.selection.weights.extend(types_pb2.Weight(contribution_id=name, milli=m) for name, m in pairs)
        return [answer]

    lie("select", "Select", change)
    assert reason_of(pool.select, pictures, mode="remote") == "INTERNAL"


def test_a_remote_selection_without_an_answer_can_be_tried_again(pool, lie, pictures):
    lie("select", "Select", lambda _index, answer: [] if answer.WhichOneof("event") == "selection" else [answer])
    assert reason_of(pool.select, pictures, mode="remote") == "POOL_UNREACHABLE"


# --- descendants ---


def part(kind, change):
    """Changes the messages of one kind of a descendant's stream."""
    return lambda _index, answer: change(answer) if answer.WhichOneof("part") == kind else [answer]


def resized(answer):
    answer.header.size.depth += 1
    return [answer]


def longer(answer):
    answer.header.total_bytes += 4
    return [answer]


def flipped(answer):
    raw = bytearray(answer.chunk)
    raw[-1] ^= 1
    answer.chunk = bytes(raw)
    return [answer]


def without(name):
    def change(answer):
        del answer.attestation.files[name]
        return [answer]

    return change


def with_more(answer):
    answer.attestation.files["../../escaped"] = b"x"
    return [answer]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (part("header", resized), "LINEAGE_INVALID"),
        (part("header", longer), "LINEAGE_INVALID"),
        (part("header", lambda _: []), "POOL_UNREACHABLE"),
        (part("chunk", flipped), "FOLDER_TAMPERED"),
        (part("chunk", lambda answer: [answer, answer]), "INTERNAL"),
        (part("chunk", lambda _: []), "POOL_UNREACHABLE"),
        (part("attestation", lambda _: []), "POOL_UNREACHABLE"),
        (part("attestation", without("receipts.json")), "INTERNAL"),
        (part("attestation", with_more), "INTERNAL"),
    ],
    ids=["size", "length", "no header", "flip", "too much", "too little", "unattested", "fewer", "more"],
)
def test_a_descendant_that_is_not_what_was_asked_for_never_appears(pool, lie, tmp_path, change, expected):
    lie("descend", "Descend", change)
    out = tmp_path / "models" / "mine"
    assert reason_of(pool.descend, size="2,2", out=out) == expected
    assert not out.exists()
    assert not (tmp_path / "escaped").exists()


def test_a_true_descendant_of_other_weights_never_appears(pool, lie, loose_pictures, tmp_path, monkeypatch):
    chosen = pool.select(loose_pictures)
    ask = pool._connection.descend.Descend

    def seed_instead(request, **options):
        other = consume_pb2.DescendRequest()
        other.CopyFrom(request)
        del other.weights[:]
        return ask(other, **options)

    monkeypatch.setattr(pool._connection.descend, "Descend", seed_instead)
    assert reason_of(pool.descend, weights=chosen, size="2,2", out=tmp_path / "mine") == "LINEAGE_INVALID"
    assert not (tmp_path / "mine").exists()
