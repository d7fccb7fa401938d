"""What may be built is decided before anything is computed."""

from pathlib import Path

import pytest

from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.limits import LIMITS
from genepool_server.serving import descend_request, descendant_documents
from genepool_server.serving.library import StoredFile
from tests.support.views import MemoryView


@pytest.fixture
def two_families(tmp_path) -> MemoryView:
    view = MemoryView(tmp_path, {}, {"name": "other-16", "heads": 1, "key": {"depth": 1, "heads": 1}})
    view.add("north")
    view.add("north", name="other-16")
    view.add("north", state="QUARANTINED")
    return view


def prepare(view, weights, budget=None, name="tiny-16"):
    return descend_request.prepare(view, name, weights, budget or Budget(size=Size(2, 1)))


def refused(*args, **options) -> str:
    with pytest.raises(GenepoolError) as caught:
        prepare(*args, **options)
    return caught.value.reason


def test_an_order_holds_size_and_members_in_order(view):
    weights = [
        (found.contribution_id, 100 * n - 50)
        for n, found in enumerate(view.contributions.active(view.blueprint("tiny-16").blueprint, ()))
    ]
    order = prepare(view, weights, Budget(max_params=10**9))
    assert order.size == Size(5, 2)
    assert [(member.contribution_id, milli) for member, milli in order.members] == weights
    assert order.total_bytes == descendant.total_bytes(view.only, order.size)


def test_no_weights_ask_for_the_seed(view):
    assert prepare(view, []).members == ()


def test_weights_are_sorted_single_nonzero_bounded_and_few(view):
    a, b, _ = (found.contribution_id for found in view.contributions.active(view.blueprint("tiny-16").blueprint, ()))
    for weights in (
        [(b, 1), (a, 1)],
        [(a, 1), (a, 2)],
        [(a, 0)],
        [(a, 4001)],
        [(a, -4001)],
        [(f"{n:064x}", 1) for n in range(LIMITS.members + 1)],
    ):
        assert refused(view, weights) == "WEIGHTS_MALFORMED"
    prepare(view, [(a, 4000), (b, -4000)])


def test_only_active_contributions_of_the_blueprint_take_part(two_families):
    by_state = {found.state: found for found in two_families.contributions.held.values() if found.site == "north"}
    (other,) = two_families.contributions.active(two_families.blueprint("other-16").blueprint, ())
    assert refused(two_families, [(other.contribution_id, 1)]) == "WEIGHTS_MALFORMED"
    assert refused(two_families, [(by_state["QUARANTINED"].contribution_id, 1)]) == "CONTRIBUTION_NOT_ACTIVE"
    assert refused(two_families, [("0" * 64, 1)]) == "CONTRIBUTION_UNKNOWN"
    assert refused(two_families, [], name="none") == "BLUEPRINT_UNKNOWN"
    assert refused(two_families, [], Budget(size=Size(9, 1))) == "SIZE_OUTSIDE_BLUEPRINT"
    assert refused(two_families, [], Budget(max_params=3)) == "BUDGET_TOO_SMALL"


def test_an_attestation_signs_every_file_of_the_folder(view):
    from genepool_protocol.trust import digest, envelope, receipt, statement
    from genepool_protocol.trust.keys import SigningKey

    found = view.contributions.active(view.blueprint("tiny-16").blueprint, ())
    order = prepare(view, [(one.contribution_id, 500) for one in found])
    key = SigningKey.generate()
    files = descendant_documents.attest(order, "5" * 64, key, "pool.local/log")
    assert set(files) == set(descendant.SIGNED) - {descendant.MODEL_FILE} | {BUNDLE_FILE}
    verified = envelope.verify(envelope.parse(files[BUNDLE_FILE]), key.public)
    signed = statement.check_model_statement(
        verified, descendant.SUBJECT, descendant.SIGNED, ignore=descendant.IGNORED
    ).digests
    assert signed == {name: digest.sha256_hex(files[name]) for name in set(files) - {BUNDLE_FILE}} | {
        descendant.MODEL_FILE: "5" * 64
    }
    lineage = descendant.parse_provenance(files[descendant.PROVENANCE_FILE])
    assert lineage.model == "5" * 64
    assert [item.contribution_id for item in lineage.dependencies] == [one.contribution_id for one in found]
    for entry, one in zip(descendant.parse_receipts(files[descendant.RECEIPTS_FILE]).receipts, found, strict=True):
        import base64

        bundle = envelope.parse(base64.b64decode(entry.receipt))
        from genepool_protocol.trust.keys import VerifyingKey

        logged = receipt.verify(
            bundle, envelope.verify(bundle, VerifyingKey.from_pem(entry.site_key_pem)), view.log.key
        )
        assert logged.index == one.log_index


def test_the_same_order_is_attested_by_the_same_bytes(view):
    from genepool_protocol.trust.keys import SigningKey

    order, key = prepare(view, []), SigningKey.generate()
    assert descendant_documents.attest(order, "5" * 64, key, "pool") == descendant_documents.attest(
        order, "5" * 64, key, "pool"
    )


def test_a_workers_file_has_a_whole_path_wherever_the_server_was_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert StoredFile.at(Path("pool/blobs/ab"), "ab").path == str(tmp_path / "pool/blobs/ab")
