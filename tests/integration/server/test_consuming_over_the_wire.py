"""A consumer on the wire: keys, thin slices, selection, and a descendant whose bytes and lineage hold."""

import json

import numpy as np
import pytest

from genepool_protocol.learngene import descendant, expansion, tensors
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import digest, envelope, statement
from genepool_protocol.v1 import consume_pb2 as pb
from genepool_protocol.v1 import types_pb2
from tests.integration.server.wire import WireSite, refused
from tests.support.images import blob
from tests.support.server import TIMEOUT, pool_server


@pytest.fixture(scope="module")
def members(server):
    """Ids of three active contributions of two sites."""
    rng = np.random.default_rng(7)
    with server.stubs() as stubs:
        first, second = (WireSite(server, stubs, name).join() for name in ("north", "south"))
        done = [site.contribute(rng) for site in (first, second, first)]
    return sorted(one.contribution_id for one in done)


def support(rng, classes: int = 3, each: int = 8):
    labels = np.repeat(np.arange(classes), each)
    return np.stack([blob(rng, int(label)) for label in labels]), labels


def request(pixels, labels=(), **changes) -> pb.SelectRequest:
    return pb.SelectRequest(
        blueprint="tiny-16", pixels=pixels.tobytes(), labels=[int(one) for one in labels], **changes
    )


def select(stubs, *arguments, **changes) -> tuple[list[pb.SelectProgress], pb.Selection]:
    events = list(stubs.select.Select(request(*arguments, **changes), timeout=TIMEOUT))
    return [event.progress for event in events[:-1]], events[-1].selection


def descend(stubs, weights, offset: int = 0, **budget):
    asked = pb.DescendRequest(
        blueprint="tiny-16", weights=weights, budget=types_pb2.SizeBudget(**budget), resume_offset=offset
    )
    parts = list(stubs.descend.Descend(asked, timeout=TIMEOUT))
    return parts[0].header, b"".join(part.chunk for part in parts[1:-1]), dict(parts[-1].attestation.files)


def test_every_active_contribution_is_listed_with_its_key(server, stubs, members):
    entries = list(stubs.select.ListKeys(pb.ListKeysRequest(blueprint="tiny-16"), timeout=TIMEOUT))
    assert [one.entry.contribution_id for one in entries] == members
    width = 4 * server.pool.blueprint("tiny-16").blueprint.width(2)
    assert {len(one.key_mean) for one in entries} == {width}
    for one in entries:
        stated = json.loads(server.pool.contributions.get(one.entry.contribution_id).manifest)["privacy"]["key"][
            "sigma"
        ]
        assert one.key_noise == float(stated) > 0
    none = stubs.select.ListKeys(pb.ListKeysRequest(blueprint="tiny-16", licenses=["MIT"]), timeout=TIMEOUT)
    assert list(none) == []


def test_thin_slices_come_whole_and_in_order(stubs, members):
    asked = pb.GetThinRequest(blueprint="tiny-16", contribution_ids=members[::-1])
    parts = list(stubs.select.GetThin(asked, timeout=TIMEOUT))
    assert [part.contribution_id for part in parts if part.contribution_id] == members[::-1]
    assert sum(part.last for part in parts) == len(members)


def test_a_selection_shows_progress_and_says_why(stubs, members, rng):
    progress, selection = select(stubs, *support(rng))
    assert progress
    candidates = [one.entry for one in selection.candidates]
    assert {entry.contribution_id for entry in candidates} <= set(members)
    assert len({entry.site for entry in candidates}) == len(candidates) > 1, "a site has one place"
    assert {one.contribution_id for one in selection.weights} <= set(members)
    assert selection.choice in ("seed", "single", "combination")
    assert selection.reason
    assert selection.snapshot


def test_the_same_support_set_gets_the_same_selection(stubs, members, rng):
    pixels, labels = support(rng)
    assert select(stubs, pixels, labels)[1] == select(stubs, pixels, labels)[1]


def test_an_unlabelled_support_set_is_enough(stubs, members, rng):
    _, selection = select(stubs, support(rng)[0])
    assert selection.choice in ("seed", "single", "combination")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 1)])
def test_a_descendant_is_what_anybody_can_rebuild_signed_with_its_lineage(server, stubs, members, rng, size):
    first, second, _ = members
    pairs = ((first, 700), (second, -200))
    weights = [types_pb2.Weight(contribution_id=name, milli=milli) for name, milli in pairs]
    header, raw, files = descend(stubs, weights, size=types_pb2.Size(depth=size[0], heads=size[1]))
    assert (header.size.depth, header.size.heads) == size
    assert header.total_bytes == len(raw)
    assert raw == rebuilt(server, Size(*size), weights)
    bundle = envelope.parse(files[BUNDLE_FILE])
    verified = envelope.verify(bundle, server.trusted.release.current)
    signed = statement.check_model_statement(verified, descendant.SUBJECT, descendant.SIGNED, ignore=descendant.IGNORED)
    assert signed.digests[descendant.MODEL_FILE] == digest.sha256_hex(raw)
    for name, content in files.items():
        if name in signed.digests:
            assert digest.sha256_hex(content) == signed.digests[name]


def rebuilt(server, size, weights) -> bytes:
    """The bytes that the protocol's own code makes of the files."""
    loaded = server.pool.blueprint("tiny-16")
    blueprint = loaded.blueprint
    seed, thin = (
        expansion.gene_layout(blueprint, count) for count in (blueprint.seed.components, blueprint.components)
    )
    members = [(one.milli, server.pool.contributions.get(one.contribution_id).path) for one in weights]
    deltas = [(milli, tensors.TensorFile(path).flat(thin)) for milli, path in members]
    return descendant.build(blueprint, size, tensors.TensorFile(loaded.seed_path).flat(seed).astype(np.float32), deltas)


def test_what_was_selected_can_be_descended_and_resumed(stubs, members, rng):
    _, selection = select(stubs, *support(rng))
    _, whole, files = descend(stubs, selection.weights, max_params=10**6)
    offset = len(whole) // 2
    _, rest, again = descend(stubs, selection.weights, offset, max_params=10**6)
    assert rest == whole[offset:]
    assert again == files


def test_the_seed_is_a_descendant_too(stubs, members):
    header, raw, _ = descend(stubs, [], max_bytes=40_000)
    assert header.total_bytes == len(raw) <= 40_000


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"size": types_pb2.Size(depth=9, heads=1)}, "SIZE_OUTSIDE_BLUEPRINT"),
        ({"size": types_pb2.Size(depth=1, heads=0)}, "SIZE_OUTSIDE_BLUEPRINT"),
        ({"max_params": 1}, "BUDGET_TOO_SMALL"),
        ({"max_bytes": 1}, "BUDGET_TOO_SMALL"),
        ({}, "OPTION_INVALID"),
    ],
)
def test_a_size_that_is_none_is_refused(stubs, members, budget, reason):
    asked = pb.DescendRequest(blueprint="tiny-16", budget=types_pb2.SizeBudget(**budget))
    assert refused(stubs.descend.Descend, asked).reason == reason


def test_weights_of_nobody_are_refused(stubs, members):
    asked = pb.DescendRequest(
        blueprint="tiny-16",
        weights=[types_pb2.Weight(contribution_id="0" * 64, milli=1000)],
        budget=types_pb2.SizeBudget(max_params=10**6),
    )
    assert refused(stubs.descend.Descend, asked).reason == "CONTRIBUTION_UNKNOWN"
    thin = pb.GetThinRequest(blueprint="tiny-16", contribution_ids=["0" * 64])
    assert refused(stubs.select.GetThin, thin).reason == "CONTRIBUTION_UNKNOWN"
    assert refused(stubs.select.GetThin, pb.GetThinRequest(blueprint="tiny-16")).reason == "OPTION_INVALID"


def test_support_sets_that_are_none_are_refused(stubs, members, rng):
    pixels, labels = support(rng)
    for asked, reason in (
        (pb.SelectRequest(blueprint="tiny-16", pixels=b"xyz"), "SUPPORT_MALFORMED"),
        (request(pixels, labels[:-1]), "SUPPORT_MALFORMED"),
        (request(pixels, np.zeros(len(labels))), "ONE_CLASS_ONLY"),
        (request(np.zeros((1025, 16, 16, 3), dtype=np.uint8)), "SUPPORT_TOO_LARGE"),
        (pb.SelectRequest(blueprint="nothing", pixels=pixels.tobytes()), "BLUEPRINT_UNKNOWN"),
    ):
        assert refused(stubs.select.Select, asked).reason == reason


def test_an_empty_pool_says_that_it_is_empty(tmp_path, rng):
    with pool_server(tmp_path) as server, server.stubs() as stubs:
        assert refused(stubs.select.Select, request(*support(rng))).reason == "POOL_EMPTY"


def test_what_waits_in_quarantine_is_not_handed_out(tmp_path, rng):
    with pool_server(tmp_path, admission="manual") as server, server.stubs() as stubs:
        done = WireSite(server, stubs, "north").join().contribute(rng)
        weight = types_pb2.Weight(contribution_id=done.contribution_id, milli=1000)
        asked = pb.DescendRequest(blueprint="tiny-16", weights=[weight], budget=types_pb2.SizeBudget(max_params=10**6))
        assert refused(stubs.descend.Descend, asked).reason == "CONTRIBUTION_NOT_ACTIVE"
        server.pool.contributions.decide(done.contribution_id, "ACTIVE", "")
        header, _, _ = descend(stubs, [weight], max_params=10**6)
        assert header.total_bytes


def test_a_consumer_that_hangs_up_gives_its_place_back(server, stubs, members):
    asked = pb.DescendRequest(blueprint="tiny-16", budget=types_pb2.SizeBudget(max_params=10**6))
    for _ in range(3 * server.serving.config.slots):
        call = stubs.descend.Descend(asked, timeout=TIMEOUT)
        assert next(iter(call)).header.total_bytes
        call.cancel()
    assert descend(stubs, [], max_params=10**6)[1]


def test_the_operator_sets_how_often_strangers_descend(tmp_path):
    quotas = {"anonymous_descents_per_minute": 1}
    with pool_server(tmp_path, quotas=quotas) as server, server.stubs() as stubs:
        size = types_pb2.SizeBudget(size=types_pb2.Size(depth=5, heads=2))
        asked = pb.DescendRequest(blueprint="tiny-16", budget=size)
        list(stubs.descend.Descend(asked, timeout=TIMEOUT))
        told = refused(stubs.descend.Descend, asked)
    assert (told.reason, told.metadata["retry_seconds"]) == ("RATE_EXCEEDED", "60")
