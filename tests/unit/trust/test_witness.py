"""Cosignatures of C2SP tlog-cosignature: what is signed, by whom, and how many of them count."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from genepool_protocol.trust import checkpoint, merkle, note, witness
from genepool_protocol.trust.keys import LogSigner, LogVerifier, SigningKey, WitnessSigner, WitnessVerifier
from genepool_protocol.trust.witness import WitnessPolicy
from tests.support.refusals import reason_of
from tests.support.trust import trusted

LOG = LogSigner.generate("pool.test/log")
HEAD = checkpoint.sign(7, merkle.leaf_hash(b"leaf"), LOG)
ONE, TWO = WitnessSigner.generate("witness.example/one"), WitnessSigner.generate("witness.example/two")
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
TIME = int(NOW.timestamp())


def cosigned(*signers, time=TIME):
    lines = [witness.cosign(HEAD, signer, time) for signer in signers]
    return checkpoint.verify(witness.joined(HEAD.note, lines), LOG.public)


def test_a_cosignature_is_the_bytes_that_c2sp_defines():
    line = witness.cosign(HEAD, ONE, TIME)
    dash, name, text = line.rstrip("\n").split(" ")
    raw = base64.b64decode(text)
    assert (dash, name, len(raw)) == ("\N{EM DASH}", "witness.example/one", 76)
    assert raw[:4] == hashlib.sha256(b"witness.example/one\n\x04" + ONE.public.public).digest()[:4]
    assert int.from_bytes(raw[4:12], "big") == TIME
    body = HEAD.note[: HEAD.note.rindex("\n\n") + 1]
    message = b"cosignature/v1\ntime %d\n" % TIME + body.encode()
    Ed25519PublicKey.from_public_bytes(ONE.public.public).verify(raw[12:], message)


def test_a_witness_key_and_a_log_key_are_never_taken_for_one_another():
    assert WitnessVerifier.parse(ONE.public.vkey) == ONE.public
    assert reason_of(LogVerifier.parse, ONE.public.vkey) == "KEY_MALFORMED"
    assert reason_of(WitnessVerifier.parse, LOG.public.vkey) == "KEY_MALFORMED"
    same = WitnessVerifier(LOG.name, LOG.public.public)
    assert witness.cosignatures(HEAD.note, [same]) == [], "the log's own signature is no cosignature"


def test_each_witness_counts_once_and_strangers_do_not():
    policy = WitnessPolicy((ONE.public, TWO.public), 2)
    assert [one.name for one in policy.demand(cosigned(ONE, TWO), NOW)] == [ONE.name, TWO.name]
    twice = checkpoint.verify(witness.joined(cosigned(ONE).note, [witness.cosign(HEAD, ONE, TIME + 1)]), LOG.public)
    assert [one.time for one in witness.cosignatures(twice.note, policy.witnesses)] == [TIME + 1]
    for head in (HEAD, cosigned(ONE), twice, cosigned(ONE, WitnessSigner.generate(TWO.name))):
        assert reason_of(policy.demand, head, NOW) == "WITNESSES_MISSING"


def test_an_old_cosignature_does_not_count_for_a_live_head():
    policy, old = WitnessPolicy((ONE.public,), 1), cosigned(ONE)
    assert policy.demand(old, NOW + timedelta(hours=23))
    assert reason_of(policy.demand, old, NOW + timedelta(hours=25)) == "WITNESSES_MISSING"
    assert policy.demand(old)


def test_a_cosignature_of_another_head_time_or_length_is_refused():
    other = checkpoint.sign(8, HEAD.root, LOG)
    line = witness.cosign(other, ONE, TIME)
    raw = base64.b64decode(witness.cosign(HEAD, ONE, TIME).split(" ")[2])
    later = note.line(ONE.name, raw[:4] + (TIME + 1).to_bytes(8, "big") + raw[12:])
    for wrong in (
        line,
        later,
        note.line(ONE.name, raw[:-1]),
        note.line(ONE.name, raw + b"x"),
        note.line(ONE.name, raw[:9]),
    ):
        assert reason_of(witness.cosignatures, witness.joined(HEAD.note, [wrong]), [ONE.public]) == "CHECKPOINT_INVALID"


def test_the_trust_root_holds_a_policy_that_can_be_met():
    keys, release = [ONE.public.vkey, TWO.public.vkey], SigningKey.generate().public
    found = trusted(LOG.public, release, witnesses=keys, quorum=2)
    assert found.policy == WitnessPolicy((ONE.public, TWO.public), 2)
    assert trusted(LOG.public, release).policy.demand(HEAD, NOW) == []
    for wrong in ({"quorum": 1}, {"witnesses": keys, "quorum": 3}, {"witnesses": keys[:1] * 2, "quorum": 2}):
        with pytest.raises(ValueError, match="quorum"):
            trusted(LOG.public, release, **wrong)
