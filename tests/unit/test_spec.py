"""SPEC.md says what the code does: tables, names, numbered checks, reasons."""

import re

import pytest

from genepool_client.consumer import verify
from genepool_protocol.learngene import descendant, expansion
from genepool_protocol.trust import envelope, statement
from genepool_protocol.wire import versions
from genepool_protocol.wire.errors import REASONS
from tests.support import spec

TEXT = spec.PAGE.read_text(encoding="utf-8")
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for folder in ("protocol", "server", "client")
    for path in (spec.ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name
}


def test_the_tables_of_limits_and_errors_are_those_of_the_code():
    assert spec.filled(TEXT) == TEXT, "run: python -m tests.support.spec"


@pytest.mark.parametrize(
    "name",
    [
        versions.API_VERSION,
        versions.ERROR_DOMAIN,
        versions.MANIFEST_SCHEMA,
        versions.BLUEPRINT_SCHEMA,
        versions.DESCENDANT_PREDICATE,
        statement.MODEL_PREDICATE,
        envelope.PAYLOAD_TYPE,
        *descendant.SIGNED,
        *expansion._STEM,
        *expansion._BLOCK,
    ],
)
def test_every_signed_name_is_in_the_specification(name):
    assert f"`{name}`" in TEXT


def test_every_reason_in_the_code_is_in_the_table_and_every_row_is_used():
    table = next(text for path, text in SOURCES.items() if path.match("wire/errors.py"))
    rest = "\n".join(text for text in SOURCES.values() if text is not table)
    raised = set(re.findall(r"\(\s*\"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|BUSY|OFFSET|INTERNAL)\",?\s", rest))
    kinds = (
        r"(?:InvalidInput|VerificationError|Refused|NotFound|Unavailable|StorageError|VersionMismatch|GenepoolError)"
    )
    direct = set(re.findall(kinds + r"\(\s*\"([A-Z_0-9]+)\"", rest))
    assert direct <= set(REASONS), direct - set(REASONS)
    unused = {name for name in REASONS if f'"{name}"' not in rest}
    assert not unused, unused
    assert raised & set(REASONS)


def test_the_numbered_verification_is_that_of_the_code():
    numbered = re.findall(r"^  \((\d)\) (.*(?:\n      .*)*)", verify.__doc__, re.MULTILINE)
    section = TEXT.split("## 10.")[1].split("## 11.")[0]
    stated = re.findall(r"^(\d)\. (.*)$", section, re.MULTILINE)
    assert [(number, " ".join(words.split())) for number, words in numbered] == stated


def test_every_reason_of_the_admission_table_is_a_row_of_the_error_table():
    section = TEXT.split("## 6.")[1].split("## 7.")[0]
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", section)) <= set(REASONS)
