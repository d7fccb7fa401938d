"""SPEC.md says what the code does: tables, names, numbered checks, reasons."""

import inspect
import json
import re
from typing import get_args

import numpy as np
import pytest

from genepool_client.consumer.descendant import verify
from genepool_protocol.learngene import blueprint, descendant, expansion, manifest, tensors
from genepool_protocol.trust import anchors, envelope, receipt, statement, trusted
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire import documents, versions
from genepool_protocol.wire.errors import REASONS
from genepool_server.admission import architecture, canary, content, profile, screening, screens, state
from genepool_server.admission import statement as signed_claims
from genepool_server.pool.contributions import intake
from tests.support import spec
from tests.support.genes import tiny_blueprint
from tests.support.log import Log
from tests.support.sites import signed

TEXT = spec.PAGE.read_text(encoding="utf-8")
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for folder in ("protocol", "server", "client")
    for path in (spec.ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name
}
KINDS = {row.kind.__name__ for row in REASONS.values()} | {"GenepoolError"}


def test_the_tables_of_limits_and_errors_are_those_of_the_code():
    assert spec.filled(TEXT) == TEXT, "run: python -m tests.support.spec"


def test_every_reason_has_a_meaning():
    said = spec.meanings(TEXT)
    assert [name for name in REASONS if not said.get(name)] == []


def test_the_table_of_versions_is_that_of_the_code():
    stated = {row[0].strip("`"): row[1].strip("`") for row in spec.rows(spec.section(14))[1:]}
    found = {name: value for name, value in vars(versions).items() if name.isupper()}
    assert stated == {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


@pytest.mark.parametrize(
    "name",
    [
        versions.MANIFEST_SCHEMA,
        versions.BLUEPRINT_SCHEMA,
        versions.DESCENDANT_PREDICATE,
        anchors.Anchors.model_fields["schema_"].default,
        anchors.Invite.model_fields["schema_"].default,
        trusted.Trusted.model_fields["schema_"].default,
        trusted.Signers.model_fields["schema_"].default,
        descendant.Receipts.model_fields["schema_"].default,
        statement.MODEL_PREDICATE,
        envelope.PAYLOAD_TYPE,
        descendant.HEAD_FILE,
        descendant.TIMM_ARCHITECTURE,
        *descendant.SIGNED,
        *expansion._STEM,
        *expansion._BLOCK,
    ],
)
def test_every_signed_name_is_in_the_specification(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize(
    "text", [envelope.MEDIA_TYPE, statement.STATEMENT_TYPE, tensors._NAME.pattern.replace("\\-", "-")]
)
def test_every_fixed_text_is_in_the_specification(text):
    assert text in TEXT


def test_the_patterns_of_names_and_decimals_are_those_of_the_code():
    for kind in (documents.Decimal, documents.Name):
        _, field = get_args(kind)
        assert field.metadata[0].pattern.strip("^$") in TEXT


@pytest.mark.parametrize(("number", "document"), [(2, blueprint.Blueprint), (4, manifest.Manifest)])
def test_every_member_of_a_document_is_described(number, document):
    described = set(re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in spec.rows(spec.section(number)))))
    assert described == {field.alias or name for name, field in document.model_fields.items()} - {"schema"}


def test_the_rules_of_tensor_files_are_those_of_the_code():
    stated = [row[0].strip("`") for row in spec.rows(spec.section(3))[1:]]
    assert sorted(stated) == sorted(set(re.findall(r'_bad\("([A-Z_]+)"', inspect.getsource(tensors))))


def skeleton(value) -> object:
    """The members of a value, at every depth."""
    if isinstance(value, dict):
        return {name: skeleton(inner) for name, inner in value.items()}
    return [skeleton(inner) for inner in value] if isinstance(value, list) else ""


def members(value) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(members, value.values()))
    return set().union(*map(members, value)) if isinstance(value, list) else set()


def test_every_member_of_statement_bundle_leaf_and_receipt_is_shown():
    log, key = Log(), SigningKey.generate()
    made = signed(tiny_blueprint(), key, np.random.default_rng(0))
    _, raw = log.append(made.bundle, key)
    parsed = envelope.parse(raw)
    leaf = receipt.leaf(envelope.verify(parsed, key.public))
    shown = spec.section(5) + spec.section(6)
    for document in (raw, parsed.payload, leaf):
        assert {name for name in members(json.loads(document)) if f'"{name}"' not in shown} == set()


def test_every_reason_in_the_code_is_in_the_table_with_its_class_and_every_row_is_used():
    table = next(path for path in SOURCES if path.match("wire/errors.py"))
    rest = "\n".join(text for path, text in SOURCES.items() if path != table)
    raised = set(re.findall(rf"\b({'|'.join(sorted(KINDS))})\(\s*\"([A-Z_0-9]+)\"", rest))
    assert {reason for _, reason in raised} <= set(REASONS)
    assert {pair for pair in raised if REASONS[pair[1]].kind.__name__ != pair[0]} == set()
    assert {name for name in REASONS if f'"{name}"' not in rest} == set()


def test_the_reasons_that_the_protocol_files_promise_exist():
    codes = "|".join({row.code for row in REASONS.values()})
    for path in (spec.ROOT / "protocol").rglob("*.proto"):
        comments = " ".join(re.findall(r"//(.*)", path.read_text(encoding="utf-8")))
        for named in re.findall(rf"\b(?:{codes}) ([A-Z_]+\*?(?:, [A-Z_]+\*?)*)", comments):
            for reason in named.split(", "):
                assert any(re.fullmatch(reason.replace("*", ".*"), known) for known in REASONS), reason


def numbered(number: int) -> list[list[str]]:
    return spec.rows(spec.section(number))[1:]


def test_the_numbered_verification_is_that_of_the_code():
    coded = re.findall(r"^  \((\d)\) (.*(?:\n      .*)*)", verify.__doc__, re.MULTILINE)
    assert [(step, " ".join(words.split())) for step, words in coded] == [(row[0], row[1]) for row in numbered(13)]


def test_every_reason_of_the_numbered_checks_is_a_row_of_the_table():
    for row in numbered(12) + numbered(13):
        assert set(re.findall(r"[A-Z]+(?:_[A-Z]+)+|\bOFFSET\b|\bBUSY\b", row[-1])) <= set(REASONS)


def test_the_numbered_admission_is_that_of_the_code():
    """A check's docstring names its number and its reasons; the page must promise the same."""
    promised = {int(row[0]): set(re.findall(r"[A-Z_]{4,}", row[-1])) for row in numbered(12)}
    assert sorted(promised) == list(range(1, 18))
    coded = {}
    for module in (signed_claims, state, architecture, content):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            found = re.match(r"Checks? (\d+)(?: and (\d+))?[:.]", function.__doc__ or "")
            if found and function.__module__ == module.__name__:
                numbers = [int(number) for number in found.groups() if number]
                coded[tuple(numbers)] = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", function.__doc__)) & set(REASONS)
    assert sorted(number for numbers in coded for number in numbers) == [4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16]
    for numbers, reasons in coded.items():
        assert reasons <= set().union(*(promised[number] for number in numbers)), numbers
    source = inspect.getsource(intake)
    assert re.search(r"# 8$", source, re.MULTILINE)


def test_the_findings_of_a_review_are_those_of_the_code():
    table = {row[0].strip("`"): row for row in numbered(19)}
    assert {name: row[1] == "rejected" for name, row in table.items()} == screens.REJECTS
    for name, limits in {
        "BLOCK_NORM": (screens.BLOCK_NORM,),
        "NORM_RATIO": (*screens.NORM_RATIO, screens.DEVIATIONS),
        "SYMMETRY": (100 * screens.MOVED, screens.UNBALANCED),
        "NEAR_COPY": (screens.NEAR, screens.NEAR_PRODUCTS),
        "RETURNED": (screens.SLACK,),
        "OPPOSED": (-screens.ALONG, screens.AGREE),
        "DIRECTION": (screens.ALONG, *screens.BLOCK_ALONG.values()),
        "CANARY": (canary.HARM, canary.ALONE, canary.MERGED),
        "CANARY_DOUBT": (canary.DOUBT,),
    }.items():
        for limit in limits:
            assert re.search(rf"(?<![\d.]){re.escape(f'{limit:g}')}(?![\d.]*\d)", table[name][2]), (name, limit)
    assert {name for name, row in table.items() if row[1] == "noted"} == screens.NOTED
    assert f"of at most {screening.COMPARED} sites" in spec.section(19)
    assert f"two vectors of {profile.WIDTH:,} numbers" in spec.section(19)
    assert screens.FEW == 4


def test_the_bounds_of_check_16_are_those_of_the_code():
    (row,) = (row for row in numbered(12) if row[0] == "16")
    assert f"at most {content.MAX_VALUE:g};" in row[1]
    assert f"at most {content.MAX_RELATIVE_NORM:g} times the seed's" in row[1]
