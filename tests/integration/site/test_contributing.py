"""A site and a real pool server: joining, contributing, repeating, and what is said when something is wrong."""

import json
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from PIL import Image

from genepool_client.site import contribution, enrolment, outbox, overview, packing, steps, submission
from genepool_client.site.code_identity import code_identity
from genepool_client.site.flower import guard
from genepool_client.site.flower.client_app import SIMULATION_ROOT, app
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Materials, Settings, SiteBlueprint
from genepool_client.transport.channel import Connection
from genepool_console import terminal
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.manifest import BUNDLE_FILE, parse_manifest
from genepool_protocol.trust import digest
from genepool_protocol.trust.anchors import read_anchors
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_server.campaign.claims import claim_of
from genepool_server.campaign.confirm import PoolWitness
from tests.integration.site.world import condensed, last_received, refused, silent, submit
from tests.support.images import write_classes
from tests.support.opened import opened_for_reading
from tests.support.trust import TrustRoot, trusted

COUNTS = {"a": 12, "b": 12, "c": 12}


@pytest.fixture
def data(tmp_path):
    return write_classes(tmp_path / "data", COUNTS, np.random.default_rng(0))


def test_the_whole_way_of_a_site(world, data):
    site = world.site("whole-way", data=data, approve=False)
    settings = Settings(device="cpu")
    assert refused(contribution.contribute, site, settings, terminal.progress).reason == "SITE_NOT_ACTIVE"
    assert not any(site.work.iterdir())  # it was asked before anything was trained
    world.approve("whole-way")
    (data / "a" / "all").symlink_to(".")  # adds no image
    shutil.copy(data / "b" / "000.png", data / "b" / "copy.png")  # nor does this

    first = contribution.contribute(site, settings, terminal.progress)
    assert (first.trained.images, first.trained.classes, first.trained.steps) == (36, 3, 2)
    assert first.notes == ("1 of 37 images are copies of others and were left out",)
    kept = outbox.Artefact(site.outbox / "1")
    assert kept.verify(kept.receipt(), site.signing_key().public, world.trusted.log)
    listed = world.contributions()[first.submitted.contribution_id]
    assert (listed.site, listed.license) == ("whole-way", "CC-BY-4.0")
    assert last_received(site) == first.submitted.contribution_id

    again = contribution.contribute(site, settings, terminal.progress)
    assert again.submitted.contribution_id == first.submitted.contribution_id
    site.change(steps=0)  # also under another recipe, what is finished stays finished
    assert contribution.contribute(site, settings, terminal.progress).submitted == first.submitted
    assert len(outbox.artefacts(site)) == 1
    site.change(steps=2)

    write_classes(data / "more", {"d": 12}, np.random.default_rng(1))
    (data / "more" / "d").rename(data / "d")
    (data / "more").rmdir()
    second = contribution.contribute(site, settings, terminal.progress).submitted
    manifest = parse_manifest(outbox.Artefact(site.outbox / "2").manifest())
    assert (second.seq, manifest.prev) == (2, first.submitted.contribution_id)
    assert manifest.observed.size > 0
    shown = overview.overview(site)
    assert (shown["state"], [row["seq"] for row in shown["contributions"]]) == ("ACTIVE", [1, 2])


def test_one_contribution_reads_and_hashes_the_seed_once(world, data, tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    site = world.site("frugal", data=data)
    hashed: list[int] = []
    true_hex, true_file = digest.sha256_hex, digest.sha256_file
    monkeypatch.setattr(digest, "sha256_hex", lambda raw: hashed.append(len(raw)) or true_hex(raw))
    monkeypatch.setattr(digest, "sha256_file", lambda path: hashed.append(path.stat().st_size) or true_file(path))

    reads, hashes = [], []
    for _ in ("the seed comes from the pool, and is hashed as it comes", "it lies in the cache"):
        steps.forget(site)
        hashed.clear()
        with opened_for_reading() as paths:
            contribution.contribute(site, Settings(device="cpu"), terminal.progress)
        (seed,) = (tmp_path / "cache").rglob("seed.safetensors")
        reads.append(paths.count(seed))
        hashes.append(hashed.count(seed.stat().st_size))
    assert (reads, hashes) == ([1, 1], [0, 1])


def test_starting_again_on_the_same_images_spends_no_second_budget_and_a_lost_count_is_refused(world, data):
    site = world.site("counted", data=data)
    claims, keys = [], []
    for number, steps_of in enumerate((2, 3), start=1):  # another training, other weights, the same images
        steps.forget(site)
        contribution.contribute(site, Settings(device="cpu", steps=steps_of), terminal.progress)
        artefact = outbox.Artefact(site.outbox / str(number))
        claims.append(parse_manifest(artefact.manifest()).privacy.key)
        keys.append(tensors.TensorFile(artefact.weights).array("key.mean").tobytes())
    assert keys[0] == keys[1]
    assert claims[0] == claims[1]
    assert claims[0].cumulative_epsilon == claims[0].epsilon == "1"

    (data / "c").rename(data / "renamed")  # and one label is corrected: still the same images
    (data / "a" / "000.png").rename(data / "b" / "a.png")
    steps.forget(site)
    contribution.contribute(site, Settings(device="cpu"), terminal.progress)
    artefact = outbox.Artefact(site.outbox / "3")
    assert tensors.TensorFile(artefact.weights).array("key.mean").tobytes() == keys[0]
    assert parse_manifest(artefact.manifest()).privacy.key == claims[0]

    write_classes(data / "more", {"d": 12}, np.random.default_rng(1))
    (data / "more" / "d").rename(data / "d")
    (data / "more").rmdir()
    contribution.contribute(site, Settings(device="cpu"), terminal.progress)
    spent = parse_manifest(outbox.Artefact(site.outbox / "4").manifest()).privacy.key.cumulative_epsilon
    assert 1.4 < float(spent) < 1.5

    site.drawn.unlink()
    steps.forget(site)
    settings = Settings(device="cpu", steps=4)
    assert refused(contribution.contribute, site, settings, terminal.progress).reason == "PRIVACY_SHRINKS"
    site.change(key_spent=spent)
    contribution.contribute(site, settings, terminal.progress)
    assert float(parse_manifest(outbox.Artefact(site.outbox / "5").manifest()).privacy.key.cumulative_epsilon) > 1.4


def test_only_the_signed_files_leave_and_no_key_is_readable(world, data):
    site = world.site("tidy", data=data)
    contribution.contribute(site, Settings(device="cpu"), terminal.progress)
    names = {path.name for path in (site.outbox / "1").iterdir()}
    assert names == {"learngene.safetensors", "manifest.json", BUNDLE_FILE, "receipt.sig"}
    assert stat.S_IMODE((site.path / "keys" / "signing.pem").stat().st_mode) == 0o600
    assert not (site.path / "invite.json").exists()
    assert not list(site.work.glob("*.pt"))


@pytest.mark.parametrize("case", ["address", "ca", "pool", "data", "one-class", "licence", "invite", "not-empty"])
def test_init_writes_nothing_when_anything_is_wrong(world, tmp_path, data, case):
    folder, invite = tmp_path / "site", world.invited(f"wrong-{case}")
    pool, given = str(world.anchors), str(data)
    value = json.loads(invite.read_text())
    other = read_anchors(world.anchors).model_dump(by_alias=True)
    if case == "address":
        pool = "127.0.0.1:1"
    elif case == "ca":
        value["anchors"]["ca_pem"] = make_ca()
        pool = ""
    elif case == "pool":
        other["root"] += " "
        (tmp_path / "pool.json").write_text(json.dumps(other))
        pool = str(tmp_path / "pool.json")
    elif case == "data":
        given = str(tmp_path / "nothing")
    elif case == "one-class":
        given = str(write_classes(tmp_path / "one", {"a": 2}, np.random.default_rng(0)))
    elif case == "not-empty":
        (folder / "something").mkdir(parents=True)
    elif case == "invite":
        value["secret"] = "short"
    invite.write_text(json.dumps(value))
    before = sorted(path for path in tmp_path.rglob("*"))
    setup = enrolment.Setup(invite=invite, pool=pool, data=given, license="§" if case == "licence" else "MIT")
    reason = {
        "address": "POOL_UNREACHABLE",
        "ca": "POOL_UNTRUSTED",
        "pool": "KEY_UNKNOWN",
        "data": "PATH_MISSING",
        "one-class": "ONE_CLASS_ONLY",
        "licence": "CONFIG_INVALID",
        "invite": "FILE_MALFORMED",
        "not-empty": "PATH_NOT_EMPTY",
    }
    assert refused(enrolment.init, folder, setup).reason == reason[case]
    assert sorted(path for path in tmp_path.rglob("*")) == before


def make_ca() -> str:
    """Another authority's certificate, from openssl."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "/dev/null", "-days", "2", "-subj", "/CN=another"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_enrolling_is_idempotent_and_an_invitation_works_once(world, tmp_path):
    invite = world.invited("once")
    site = enrolment.init(tmp_path / "one", enrolment.Setup(invite=invite))
    twin = enrolment.init(tmp_path / "two", enrolment.Setup(invite=invite))
    with Connection(site.config.anchors) as connection:
        first = enrolment.enrol(site, connection)
        assert (first.state, first.keyid) == ("PENDING", site.signing_key().public.keyid)
        assert not site.keys.tls().chain
        assert enrolment.enrol(site, connection) == first
        assert refused(enrolment.enrol, twin, connection).reason == "INVITE_USED"
    world.approve("once")
    with Connection(site.config.anchors) as connection:
        assert enrolment.enrol(site, connection).state == "ACTIVE"
    assert site.keys.tls().chain
    found = refused(enrolment.replace_invite, site, world.invited("someone-else"))
    assert found.reason == "SITE_MISMATCH"


def test_the_server_must_be_the_one_whose_root_is_pinned(world, tmp_path):
    log, release = LogSigner.generate("pool.local/log").public, SigningKey.generate().public
    other = TrustRoot(tmp_path / "other", trusted(log, release)).anchors()
    anchors = read_anchors(world.anchors).model_copy(update={"root": other.root})
    with Connection(anchors) as connection:
        assert refused(connection.capabilities).reason == "TRUST_INVALID"


def test_a_step_says_which_one_comes_first(world, data, tmp_path):
    site = world.site("hasty", data=data)
    source = SiteBlueprint(site)
    materials = Materials.read(source, Settings(device="cpu"), silent)
    assert refused(submit, site).reason == "STEP_MISSING"
    found = refused(steps.condense_learngene, materials, silent)
    assert (found.reason, "genepool site train" in found.fix) == ("STEP_MISSING", True)
    steps.train(materials, silent)
    assert refused(submit, site).fix.startswith("first: genepool site condense")
    elsewhere = str(write_classes(tmp_path / "x", COUNTS, np.random.default_rng(7)))
    other = Materials.read(source, Settings(data=elsewhere), silent)
    assert refused(steps.condense_learngene, other, silent).reason == "DATA_CHANGED"
    with site.locked():
        assert refused(SiteFolder(site.path).locked().__enter__).reason == "FOLDER_IN_USE"
    assert refused(Materials.read, source, Settings(device="tpu"), silent).reason == "OPTION_INVALID"


def test_an_ended_nonce_leads_to_a_fresh_signature_over_the_same_weights(world):
    site = world.site("late")
    condensed(site, 1)
    record, gene = steps.condensed(site)
    blueprint = SiteBlueprint(site).blueprint
    weights = packing.encode(blueprint, gene)
    artefact = outbox.place(site, 1, weights, None)
    stale = packing.Chain(
        pool=world.trusted.origin,
        site="late",
        seq=1,
        prev="0" * 64,
        nonce="A" * 43,
        not_after=submission._moment("2031-01-01T00:00:00Z"),
        observed=None,
    )
    facts = submission.facts(site, record)
    signed = packing.sign(blueprint, packing.describe(artefact.weights), stale, facts, site.signing_key())
    outbox.seal(artefact, signed)
    done = submit(site)
    assert done.contribution_id != signed.contribution_id
    assert (done.seq, artefact.weights.read_bytes()) == (1, weights)


def test_an_artefact_whose_signature_was_not_written_yet_is_signed_again(world):
    site = world.site("crashed")
    condensed(site, 2)
    record, gene = steps.condensed(site)
    blueprint = SiteBlueprint(site).blueprint
    outbox.place(site, 1, packing.encode(blueprint, gene), None)
    outbox.place(site, 5, b"unfinished", None)
    assert record.steps == 1
    assert submit(site).seq == 1
    assert [one.seq for one in outbox.artefacts(site)] == [1]


def test_a_lost_receipt_is_fetched_again(world):
    site = world.site("forgetful")
    condensed(site, 3)
    first = submit(site)
    kept = outbox.Artefact(site.outbox / "1")
    receipt = kept.receipt()
    (kept.path / outbox.RECEIPT_FILE).unlink()
    assert submit(site) == first
    assert kept.receipt() == receipt
    # also when other weights come after it
    (kept.path / outbox.RECEIPT_FILE).unlink()
    condensed(site, 4)
    assert submit(site).seq == 2
    assert kept.received


def test_what_was_changed_after_signing_is_not_sent(world):
    site = world.site("changed")
    condensed(site, 5)
    submit(site)
    kept = outbox.Artefact(site.outbox / "1")
    (kept.path / outbox.RECEIPT_FILE).unlink()
    (kept.path / "manifest.json").write_bytes(kept.manifest() + b" ")
    assert refused(submit, site).reason == "BLOB_CORRUPT"


def test_the_same_weights_by_another_site_are_refused_and_nothing_is_kept(world):
    for name in ("original", "copycat"):
        site = world.site(name)
        condensed(site, 6, whose="original")
        if name == "original":
            submit(site)
    assert refused(submit, site).reason == "DUPLICATE_WEIGHTS"
    assert not outbox.Artefact(site.outbox / "1").received


def test_a_log_that_shows_another_face_is_caught(world):
    from genepool_protocol.trust import checkpoint
    from genepool_protocol.trust.keys import LogSigner

    site = world.site("suspicious")
    condensed(site, 7)
    submit(site)
    size = checkpoint.verify(site.checkpoint.read_text(), world.trusted.log).size
    signer = LogSigner.from_pem(world.trusted.origin, (world.pool.folder / "keys" / "log.pem").read_bytes())
    site.checkpoint.write_text(checkpoint.sign(size, b"\1" * 32, signer).note)
    condensed(site, 8)
    assert refused(submit, site).reason == "LOG_FORK"
    assert len(list((site.path / "fork-evidence").iterdir())) == 2
    assert [one.seq for one in outbox.artefacts(site)] == [1]


def test_the_client_app_answers_a_receipt_that_the_pool_confirms(world, data, tmp_path, monkeypatch):
    site = world.site("flower", data=data)
    (tmp_path / "site-003").symlink_to(site.path)
    monkeypatch.setenv(SIMULATION_ROOT, str(tmp_path))
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    message = Message(RecordDict({"config": ConfigRecord()}), 7, "query.contribute")
    context = Context(run_id=1, node_id=7, node_config={"partition-id": 3}, state=RecordDict(), run_config={})
    reply = app(message, context)
    assert not reply.has_error()
    assert guard.violation(reply.content) is None
    claim = claim_of(dict(reply.content["receipt"]))
    assert (claim.code, claim.contribution_id) == (code_identity(), last_received(site))
    with PoolWitness(read_anchors(world.anchors), TlsIdentity.read(world.auditor())) as witness:
        assert witness.confirm(claim) >= 0
        false = {"contribution_id": "0" * 64}, {"sha256": "0" * 64}
        reasons = [refused(witness.confirm, type(claim)(**{**as_dict(claim), **change})).reason for change in false]
    assert reasons == ["CONTRIBUTION_UNKNOWN", "PROOF_INVALID"]


def as_dict(claim) -> dict:
    return {name: getattr(claim, name) for name in claim.__slots__}


RUN = "from genepool_client.commands.site import app; from genepool_console import terminal; terminal.run(app, 'site')"


def command(*arguments) -> tuple[int, dict, str]:
    """Exit code, JSON answer and stderr of `genepool site ...` in a process of its own."""
    words = [sys.executable, "-c", RUN, *map(str, arguments), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ}, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_the_commands_tell_the_same_story(world, data, tmp_path):
    folder, invite = tmp_path / "site", world.invited("typed")
    code, answer, _ = command("init", folder, "--pool", world.anchors, "--invite", invite, "--steps", 2)
    assert (code, answer["site"]) == (0, "typed")
    code, answer, _ = command("enrol", folder)
    assert (code, answer["state"]) == (0, "PENDING")
    world.approve("typed")
    assert command("train", folder)[:2][1]["error"] == "OPTION_INVALID"
    code, answer, text = command("train", folder, "--data", data, "--device", "cpu")
    assert (code, answer["steps"], "training: " in text) == (0, 2, True)
    code, answer, _ = command("condense", folder, "--device", "cpu")
    assert (code, answer["ancestry"]["images"]) == (0, 36)
    code, answer, _ = command("submit", folder)
    assert code == 0
    code, shown, _ = command("status", folder)
    assert (shown["state"], shown["contributions"][0]["contribution_id"]) == ("ACTIVE", answer["contribution_id"])
    assert command("status", tmp_path)[0] == 3
    assert command("enrol", folder, "--invite", tmp_path / "none")[0] == 2


def test_what_was_black_and_white_in_deep_images_is_in_the_records_and_in_the_manifest(world, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("lung", "bone"):
        (tmp_path / name).mkdir()
        for index in range(12):
            hounsfield = rng.integers(-1024, 3071, (16, 16), dtype=np.int32)
            Image.fromarray(hounsfield).save(tmp_path / name / f"{index}.tif")
    site = world.site("scanner", data=tmp_path)
    unknown = refused(contribution.contribute, site, Settings(device="cpu"), terminal.progress)
    assert unknown.reason == "INTENSITY_UNKNOWN"
    site.change(intensity="-1024,3071")
    contribution.contribute(site, Settings(device="cpu"), terminal.progress)
    assert steps.condensed(site)[0].ancestry.intensity == "-1024,3071"
    (artefact,) = outbox.artefacts(site)
    assert parse_manifest(artefact.manifest()).training.intensity == "-1024,3071"
