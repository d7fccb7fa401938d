"""What is signed badly is refused before it takes the writer, in every call that leads to a write.

The writer's lock is counted, so no time is waited for. A new method of the pool must be put into one of the tables.
"""

import base64
import inspect
from datetime import timedelta

import pytest

from genepool_protocol.trust import checkpoint, envelope, events, rotation, witness
from genepool_protocol.trust.enrolment import Application, mac, make_csr
from genepool_protocol.trust.keys import SigningKey, WitnessSigner
from genepool_protocol.trust.witness import WitnessPolicy
from genepool_server.pool.pool import OpenPool
from tests.support import sites as c
from tests.support.refusals import reason_of

READS = {
    *("active_count", "active_digests", "active_page", "descendants_for", "each_contribution", "each_site"),
    "active", "begin_nonce", "blueprint", "blueprints", "checkpoint", "company", "consistency", "contribution",
    "contributions", "descendant", "descendants", "entries", "holder", "owner", "site", "sites", "standing", "status",
    "tile", "unreviewed", "witnessed", "certificate",
}  # fmt: skip
"""Methods that write nothing of what a caller says; `certificate` issues once what an active site is owed."""

OWN = {"backup", "close", "conclude", "create", "discard", "gather", "open", "release", "repair", "seal", "unseal"}
"""Methods that the pool's own process calls, on no statement of a caller."""

SPOOL = {"append", "finish", "lease"}
"""Methods that write to an upload alone, after `begin` has checked its signature."""


class Counted:
    """A reentrant lock that counts how often it is taken."""

    def __init__(self, lock):
        self._lock, self.taken = lock, 0

    def __enter__(self):
        self.taken += 1
        return self._lock.__enter__()

    def __exit__(self, *exc):
        return self._lock.__exit__(*exc)


def swapped(bundle, other):
    """A bundle under the signature of another one."""
    old, new = (base64.b64encode(envelope.parse(one).signature) for one in (bundle, other))
    return bundle.replace(old, new)


def withdrawal(place, key, contribution_id):
    event = events.Withdrawal(
        pool=place.pool.origin,
        time="2026-07-01T12:00:00Z",
        contribution_id=contribution_id,
        sha256=place.pool.contributions.get(contribution_id).sha256,
    )
    return envelope.sign_statement(key, event.payload())


def cosigned(place, signer):
    head = checkpoint.verify(place.pool.heads.latest(), place.pool.log.keys)
    return witness.joined(head.note, [witness.cosign(head, signer, 1)])


def badly_withdrawn(place):
    name = place.contribute().contribution_id
    good, other = (withdrawal(place, key, name) for key in (place.a.key, place.b.key))
    return {
        "SIGNATURE_INVALID": lambda: place.withdrawals.withdraw(swapped(good, other)),
        "SITE_MISMATCH": lambda: place.withdrawals.withdraw(other),
        "KEY_UNKNOWN": lambda: place.withdrawals.withdraw(withdrawal(place, SigningKey.generate(), name)),
    }


def badly_enrolled(place):
    new = c.Contributor("site-c")
    invitation = place.pool.sites.invite("site-c", c.NOW)
    good = new.application(invitation.invite_id)
    proof = mac(invitation.secret, place.pool.origin, c.CHANNEL, good)
    broken = bytearray(good.signing_csr)
    broken[-3] ^= 1
    forged = Application(good.site, good.invite_id, good.tls_csr, bytes(broken))
    late = c.NOW + timedelta(days=9)
    return {
        "INVITE_INVALID": lambda: place.pool.sites.enrol(good, bytes(32), c.CHANNEL, c.NOW),
        "SIGNATURE_INVALID": lambda: place.pool.sites.enrol(forged, proof, c.CHANNEL, c.NOW),
        "INVITE_EXPIRED": lambda: place.pool.sites.enrol(good, proof, c.CHANNEL, late),
    }


def badly_renewed(place):
    issue = lambda *_: "certificate"  # noqa: E731
    broken = bytearray(make_csr(SigningKey.generate()))
    broken[-3] ^= 1
    used = make_csr(place.b.tls)
    return {
        "SIGNATURE_INVALID": lambda: place.pool.sites.renew("site-a", bytes(broken), issue, c.NOW),
        "KEY_IN_USE": lambda: place.pool.sites.renew("site-a", used, issue, c.NOW),
    }


def badly_rotated(place):
    new = SigningKey.generate()
    pair = rotation.sign(place.a.key, new, place.pool.origin, "site-a")
    stranger = rotation.sign(SigningKey.generate(), new, place.pool.origin, "site-a")
    return {
        "SIGNATURE_INVALID": lambda: place.pool.sites.rotate("site-a", swapped(pair[0], stranger[0]), pair[1], c.NOW),
        "BUNDLE_MALFORMED": lambda: place.pool.sites.rotate("site-a", b"{}", pair[1], c.NOW),
    }


def badly_begun(place):
    good, other = place.pack(), place.pack(place.b)
    return {"SIGNATURE_INVALID": lambda: place.intake.begin(swapped(good.bundle, other.bundle), good.manifest, c.NOW)}


def badly_committed(place):
    packed = place.pack()
    uploaded = c.upload(place.pool, packed, weights=packed.weights[:-1] + b"x")
    return {
        "UPLOAD_UNKNOWN": lambda: place.intake.commit("f" * 64, c.NOW),
        "DIGEST_MISMATCH": lambda: place.intake.commit(uploaded, c.NOW),
    }


def badly_cosigned(place):
    known, stranger = WitnessSigner.generate("witness.test/one"), WitnessSigner.generate("witness.test/two")
    place.reopen(witnesses=WitnessPolicy((known.public,), 1))
    note = place.pool.heads.latest()
    return {
        "KEY_UNKNOWN": lambda: place.pool.heads.add(cosigned(place, stranger)),
        "CHECKPOINT_INVALID": lambda: place.pool.heads.add(note.replace("\n", "x\n", 1)),
    }


def badly_decided(place):
    name = place.contribute().contribution_id
    return {
        "CONTRIBUTION_UNKNOWN": lambda: place.pool.contributions.decide("f" * 64, "ACTIVE", ""),
        "STATE_TRANSITION": lambda: place.pool.contributions.decide(name, "REJECTED", ""),
    }


def badly_moved(method):
    def cases(place):
        return {"SITE_UNKNOWN": lambda: getattr(place.pool.sites, method)("nobody")}

    return cases


def badly_approved(place):
    c.enrol(place.pool, c.Contributor("site-c"))
    return {
        "SITE_UNKNOWN": lambda: place.pool.sites.approve("nobody"),
        "FINGERPRINT_MISMATCH": lambda: place.pool.sites.approve("site-c", "0000 " * 8),
    }


CASES = {
    "withdraw": badly_withdrawn,
    "enrol": badly_enrolled,
    "renew": badly_renewed,
    "rotate": badly_rotated,
    "begin": badly_begun,
    "commit": badly_committed,
    "add_cosignature": badly_cosigned,
    "decide": badly_decided,
    "approve": badly_approved,
    "suspend": badly_moved("suspend"),
    "revoke": badly_moved("revoke"),
    "invite": lambda place: {"SITE_EXISTS": lambda: place.pool.sites.invite("site-a", c.NOW)},
    "withdraw_as_operator": lambda place: {
        "CONTRIBUTION_UNKNOWN": lambda: place.pool.contributions.withdraw_as_operator("f" * 64, "")
    },
}


def taken(pool, call):
    """How often a call takes the writer, and what it answers with."""
    counted = Counted(pool.contributions.ledger.writing)
    pool.contributions.ledger.writing = counted
    try:
        return counted, call()
    finally:
        pool.contributions.ledger.writing = counted._lock


@pytest.mark.parametrize("method", CASES)
def test_attack_a_badly_signed_call_is_refused_without_the_writer(place, method):
    for reason, call in CASES[method](place).items():
        counted, refused = taken(place.pool, lambda call=call: reason_of(call))
        assert (refused, counted.taken) == (reason, 0), f"{method}: {reason}"


def test_attack_what_is_public_and_was_taken_before_is_repeated_without_the_writer(place):
    """Receipts, cosignatures and used invitations can be replayed by anybody who has seen them."""
    signer = WitnessSigner.generate("witness.test/one")
    place.reopen(witnesses=WitnessPolicy((signer.public,), 1))
    name = place.contribute().contribution_id
    bundle = withdrawal(place, place.a.key, name)
    place.withdrawals.withdraw(bundle)
    note = cosigned(place, signer)
    place.pool.heads.add(note)
    new = SigningKey.generate()
    pair = rotation.sign(place.b.key, new, place.pool.origin, "site-b")
    place.pool.sites.rotate("site-b", *pair, c.NOW)
    for call in (
        lambda: place.withdrawals.withdraw(bundle),
        lambda: place.pool.heads.add(note),
        lambda: place.pool.sites.rotate("site-b", *pair, c.NOW),
    ):
        assert taken(place.pool, call)[0].taken == 0


def test_every_method_of_the_pool_is_in_a_table():
    public = {name for name, _ in inspect.getmembers(OpenPool, inspect.isfunction) if not name.startswith("_")}
    public |= {name for name, _ in inspect.getmembers(OpenPool, inspect.ismethod) if not name.startswith("_")}
    assert public - READS - OWN - SPOOL - set(CASES) == set()
