"""Signed notes and the log's tree head: what is signed, by whom, and nothing beside it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.trust import checkpoint, merkle, note
from genepool_protocol.trust.keys import LogSigner, LogVerifier
from genepool_protocol.wire.errors import VerificationError

DASH = "\N{EM DASH}"
SIGNER = LogSigner.generate("pool.local/log")
OTHER = LogSigner.generate("pool.local/log")
ROOT = merkle.leaf_hash(b"leaf")

# https://github.com/C2SP/C2SP/blob/main/signed-note.md, the example
KNOWN_KEY = LogVerifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
KNOWN_NOTE = f"""If you think cryptography is the answer to your problem,
then you don't know what your problem is.

{DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def refused(function, *args) -> None:
    with pytest.raises(VerificationError) as caught:
        function(*args)
    assert caught.value.reason == "CHECKPOINT_INVALID"


def test_the_specifications_example_holds():
    assert note.verify(KNOWN_NOTE, KNOWN_KEY).text == KNOWN_NOTE.split(f"\n{DASH}", maxsplit=1)[0]
    refused(note.verify, KNOWN_NOTE.replace("answer", "anwser"), KNOWN_KEY)


def test_a_note_says_who_signed_it():
    raw = note.sign("text\n", SIGNER)
    found = note.verify(raw, SIGNER.public)
    assert (found.text, found.raw) == ("text\n", raw)
    refused(note.verify, raw, OTHER.public)
    refused(note.verify, raw, LogSigner.generate("other/log").public)


def test_signatures_of_strangers_are_passed_over_in_any_order():
    raw = note.sign("text\n", SIGNER)
    line = raw.splitlines(keepends=True)[-1]
    foreign = note.sign("text\n", LogSigner.generate("witness")).splitlines(keepends=True)[-1]
    same_name = note.sign("text\n", OTHER).splitlines(keepends=True)[-1]
    for lines in ([foreign, line], [line, foreign], [same_name, foreign, line]):
        assert note.verify("text\n\n" + "".join(lines), SIGNER.public).text == "text\n"


def signed(text: str, lines: list[str]) -> str:
    return text + "\n" + "".join(lines)


LINE = note.sign("text\n", SIGNER).splitlines(keepends=True)[-1]
BLOB = LINE.split()[-1]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n" + LINE,
        signed("text", [LINE]),
        signed("text\n", [LINE])[:-1],
        signed("text\n", [LINE]) + "\n",
        signed("text\n", ["\n", LINE]),
        signed("text\n", [LINE, "tail\n"]),
        signed("text\n", [LINE.replace(DASH, "-")]),
        signed("text\n", [LINE.replace(f"{DASH} ", f"{DASH}  ")]),
        signed("text\n", [LINE.replace("\n", " \n")]),
        signed("text\n", [LINE.replace("pool.local/log", "pool.local+log"), LINE]),
        signed("text\n", [f"{DASH} witness A===\n", LINE]),
        signed("text\n", [f"{DASH} witness AAAA\n", LINE]),
        signed("text\n", [f"{DASH} pool.local/log {BLOB[:-8]}\n"]),
        signed("text\n", [LINE.replace("=\n", "==\n")]),
        signed("text\n", [f"{DASH} witness AAAAAA=\n", LINE]),
        signed("text\n", [f"{DASH} witness AAAAAAB=\n", LINE]),  # a bit that no byte holds
        signed("text\n", [LINE] * 17),
        signed("te\txt\n", [LINE]),
        signed("text\r\n", [LINE]),
        signed("te\ud800xt\n", [LINE]),
        signed("text\n" + "x" * (17 << 10) + "\n", [LINE]),
        signed("another text\n", [LINE]),
    ],
)
def test_a_malformed_note_is_refused(raw):
    refused(note.verify, raw, SIGNER.public)


def test_a_bad_signature_of_the_log_is_not_healed_by_a_good_one():
    bad = base64.b64encode(base64.b64decode(BLOB)[:-1] + b"\0").decode()
    refused(note.verify, signed("text\n", [f"{DASH} pool.local/log {bad}\n", LINE]), SIGNER.public)


@given(st.text(max_size=80))
def test_any_text_is_refused_or_verified_and_nothing_else(raw):
    refused(note.verify, raw, SIGNER.public)
    refused(note.verify, signed(raw + "\n", [LINE]), OTHER.public)


@given(
    st.lists(
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_what_was_signed_comes_back(lines):
    text = "\n".join(lines) + "\n"
    assert note.verify(note.sign(text, SIGNER), SIGNER.public).text == text


def test_a_checkpoint_comes_back_as_it_was_signed():
    head = checkpoint.sign(12, ROOT, SIGNER)
    assert checkpoint.verify(head.note, SIGNER.public) == head
    assert (head.origin, head.size, head.root) == ("pool.local/log", 12, ROOT)
    assert head.note.startswith("pool.local/log\n12\n")


TEXT_ROOT = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"other/log\n1\n{TEXT_ROOT}\n",
        f"\n1\n{TEXT_ROOT}\n",
        f"pool.local/log \n1\n{TEXT_ROOT}\n",
        f"pool.local/log\n01\n{TEXT_ROOT}\n",
        f"pool.local/log\n+1\n{TEXT_ROOT}\n",
        f"pool.local/log\n-1\n{TEXT_ROOT}\n",
        f"pool.local/log\n\N{ARABIC-INDIC DIGIT ONE}\n{TEXT_ROOT}\n",
        f"pool.local/log\n1 \n{TEXT_ROOT}\n",
        f"pool.local/log\n\n{TEXT_ROOT}\n",
        f"pool.local/log\n99999999999999999\n{TEXT_ROOT}\n",
        f"pool.local/log\n1\n{TEXT_ROOT}\nextension\n",
        "pool.local/log\n1\n",
        f"pool.local/log\n{TEXT_ROOT}\n",
        "pool.local/log\n1\n\n",
        f"pool.local/log\n1\n{TEXT_ROOT[:-1]}\n",
        f"pool.local/log\n1\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"pool.local/log\n1\n{base64.b64encode(ROOT + b'x').decode()}\n",
        f"pool.local/log\n1\n{TEXT_ROOT[:-2]}{chr(ord(TEXT_ROOT[-2]) + 1)}=\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text):
    raw = note.sign(text, SIGNER)
    refused(checkpoint.verify, raw, SIGNER.public)


def test_another_logs_checkpoint_is_refused():
    refused(checkpoint.verify, checkpoint.sign(1, ROOT, OTHER).note, SIGNER.public)
