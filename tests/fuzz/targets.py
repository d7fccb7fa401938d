"""The parsers that see foreign bytes, valid examples of what they read, and the law of each.

A law takes any bytes, hands them to the parser and asserts what must hold of what it accepted; it may raise a
GenepoolError.
"""

import hashlib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import safetensors.numpy
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from securesystemslib.signer import CryptoSigner

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import Head
from genepool_protocol.learngene import blueprint, descendant, manifest, tensors
from genepool_protocol.learngene.history import History
from genepool_protocol.trust import (
    anchors,
    checkpoint,
    enrolment,
    envelope,
    events,
    note,
    receipt,
    rotation,
    statement,
    strict_json,
    tiles,
    updating,
    witness,
)
from genepool_protocol.trust.envelope import Verified
from genepool_protocol.trust.keys import LogSigner, LogVerifier, SigningKey, VerifyingKey, WitnessSigner
from genepool_protocol.trust.terms import StatementKeys
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.documents import Document
from genepool_protocol.wire.limits import LIMITS
from tests.support import events as stated
from tests.support.genes import tiny_blueprint
from tests.support.hostile import HOSTILE
from tests.support.log import Log
from tests.support.sites import manifest_for
from tests.support.trust import TrustRoot, trusted

# One fixed key for each purpose, so that a crash file means the same in every run.
SITE = SigningKey(ec.derive_private_key(0x51, ec.SECP256R1()))
RELEASE = SigningKey(ec.derive_private_key(0x52, ec.SECP256R1()))
LOG = LogSigner("pool.test/log", ed25519.Ed25519PrivateKey.from_private_bytes(b"l" * 32))
WITNESS = WitnessSigner("witness.test", ed25519.Ed25519PrivateKey.from_private_bytes(b"w" * 32))
WIDTH = 3
"""Leaves of the tile that unbundle is asked for, and features of the head."""


def _ed25519(name: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(name * 32)


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under test.

    Attributes:
        name: of its crashes.
        examples: valid bytes first, then notorious ones.
        law: raises GenepoolError or nothing for any bytes.
    """

    name: str
    examples: list[bytes]
    law: Callable[[bytes], None]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")  # lone surrogates, as a careless reader would hand them on


def _strict(raw: bytes) -> None:
    value = strict_json.loads(raw, max_bytes=LIMITS.bundle_bytes, what="x")
    again = strict_json.canonical(value)
    assert strict_json.loads_canonical(again, max_bytes=1 << 20, what="x") == value


def _floats(raw: bytes) -> None:
    strict_json.canonical(strict_json.loads(raw, max_bytes=LIMITS.bundle_bytes, what="x", floats=True))


def _canonical(raw: bytes) -> None:
    assert strict_json.canonical(strict_json.loads_canonical(raw, max_bytes=LIMITS.bundle_bytes, what="x")) == raw


def _header(raw: bytes) -> None:
    header = tensors.parse_header(raw, len(raw))
    found = safetensors.numpy.load(raw)  # what we accept, the stock library reads, and sees the same tensors
    assert {name: array.shape for name, array in found.items()} == header.layout


def _bundle(raw: bytes) -> None:
    found = envelope.parse(raw)
    entry = found.tlog
    again = envelope.parse(envelope._encode(found.payload, found.signature, found.keyid, found.hint, entry))
    assert again == found
    envelope.verify(found, SITE.public)
    assert found.payload == envelope.parse(BUNDLE).payload  # nothing else was ever signed with this key


def _statement(raw: bytes) -> None:
    names = [manifest.LEARNGENE_FILE, manifest.MANIFEST_FILE]
    found = statement.check_model_statement(
        Verified(raw, b"", SITE.public), manifest.SUBJECT, names, ignore=[manifest.BUNDLE_FILE]
    )
    again = statement.model_statement(manifest.SUBJECT, found.digests, ignore=[manifest.BUNDLE_FILE])
    assert strict_json.canonical(strict_json.loads(raw, max_bytes=len(raw), what="x")) == again


def _event(raw: bytes) -> None:
    found = events.parse(raw)
    assert found is None or found.payload() == raw


def _manifest(raw: bytes) -> None:
    found = manifest.parse_manifest(raw)
    assert found.canonical() == raw
    manifest.check_architecture(found, BLUEPRINT)


def _blueprint(raw: bytes) -> None:
    found = blueprint.parse_blueprint(raw)
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert found.params(found.reference) > 0


def _note(raw: bytes) -> None:
    text, lines = note.signatures(_text(raw))
    assert f"{text}\n" + "".join(note.line(name, signature) for name, signature in lines) == _text(raw)
    assert 1 <= len(lines) <= 16


def _checkpoint(raw: bytes) -> None:
    found = checkpoint.verify(_text(raw), LOG.public)
    assert found.note == _text(raw)
    assert (found.size, found.root) == (HEAD.size, HEAD.root)


def _signed_text(raw: bytes) -> None:
    """A checkpoint's text after the log signed it, whatever it says."""
    text = raw.decode("utf-8", "replace")
    found = checkpoint.verify(note.sign(text, LOG), LOG.public)
    assert checkpoint.sign(found.size, found.root, LOG).note == found.note


def _cosignatures(raw: bytes) -> None:
    found = witness.cosignatures(_text(raw), [WITNESS.public])
    assert all(one.line in COSIGNED for one in found)


def _receipt(raw: bytes) -> None:
    found = envelope.parse(raw)
    logged = receipt.verify(found, envelope.verify(found, SITE.public), LOG.public)
    assert (logged.index, logged.checkpoint.size) == (1, 2)


def _leaf(raw: bytes) -> None:
    assert receipt.leaf(receipt.open_leaf(raw, PAYLOAD)) == raw


def _signed_event(raw: bytes) -> None:
    """What a lying pool's release key signed, replayed behind an honest beginning: violations, never a failure."""
    keys = StatementKeys.of(RELEASE.public)
    replay = History(stated.ORIGIN, keys, keys)
    replay.take(*stated.leaf(RELEASE, stated.site("north", "enrolled", SITE)))
    replay.take(*stated.leaf(RELEASE, raw))
    assert replay.size == 2


def _entries(raw: bytes) -> None:
    assert tiles.bundle(tiles.unbundle(raw, WIDTH)) == raw


def _tile_path(raw: bytes) -> None:
    assert tiles.Tile.parse(_text(raw)).path == _text(raw)


_SHOWN = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)


def _head(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / descendant.HEAD_FILE).write_bytes(raw)
        given = head_file.read(folder, WIDTH)
        assert given.head.weight.shape == (len(given.classes), WIDTH)
        head_file.write(folder, given.head, given.classes, _SHOWN)
        again = head_file.read(folder, WIDTH)
        assert again.classes == given.classes
        assert again.seen is not None
        assert len(again.seen) == len(_SHOWN)


def _read_from(reader: Callable[[Path], Document]) -> Callable[[bytes], None]:
    def law(raw: bytes) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "file"
            path.write_bytes(raw)
            found = reader(path)
            path.write_text(found.model_dump_json(by_alias=True))
            assert reader(path) == found
            given = strict_json.loads(raw, max_bytes=len(raw), what="x")
            assert set(given) <= set(found.model_dump(by_alias=True))
            assert "schema" in given
            pinned = getattr(found, "anchors", found)
            assert len(pinned.root_sha256) == 64

    return law


def _trusted(raw: bytes) -> None:
    found = Trusted.parse(raw, "x")
    assert found.encode() == raw
    assert found.log.name == found.origin
    assert len(found.policy.witnesses) >= found.policy.quorum
    for role in (found.release, found.operator):
        assert role.speaks(role.current.keyid, 1 << 48)


def _trust_root(raw: bytes) -> None:
    """A pool that serves these bytes as its timestamp: they are the true one, or refused."""
    with tempfile.TemporaryDirectory() as name:
        ROOT.served = {"timestamp.json": raw}
        assert updating.refresh(ROOT.anchors(), Path(name), ROOT.fetch, datetime.now(UTC)) == TRUSTED


def _vkey(raw: bytes) -> None:
    assert LogVerifier.parse(_text(raw)).vkey == _text(raw)


def _pem(raw: bytes) -> None:
    assert VerifyingKey.from_der(VerifyingKey.from_pem(raw).spki)


def _der(raw: bytes) -> None:
    found = VerifyingKey.from_der(raw)
    assert found.spki == raw
    assert VerifyingKey.from_pem(found.pem) == found
    found.verify(raw, raw)


def _csr(raw: bytes) -> None:
    key = enrolment.read_csr(raw, "x")
    assert VerifyingKey.from_der(key.spki) == key
    parts = [x509.load_der_x509_csr(one).tbs_certrequest_bytes for one in (raw, CSR)]
    assert (key == SITE.public) == (parts[0] == parts[1])  # what this key signed, and nothing else


def _ca(raw: bytes) -> None:
    with warnings.catch_warnings():  # of a serial number that a later release of cryptography refuses
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        assert len(enrolment.channel_of(_text(raw))) == 32


def _rotation(raw: bytes) -> None:
    """The new key's half of a rotation; the site's half stays as it is."""
    found = rotation.verify(ROTATION[0], raw, SITE.public, LOG.name, "north")
    assert found.new == RELEASE.public


def _rotation_payload(raw: bytes) -> None:
    """A rotation that both keys signed, whatever it says."""
    by_old, by_new = (envelope.sign_statement(key, raw) for key in (SITE, RELEASE))
    rotation.verify(by_old, by_new, SITE.public, LOG.name, "north")
    assert raw == envelope.parse(ROTATION[0]).payload


def _provenance(raw: bytes) -> None:
    assert descendant.provenance_json(descendant.parse_provenance(raw)) == raw


def _receipts(raw: bytes) -> None:
    assert descendant.parse_receipts(raw).canonical() == raw


BLUEPRINT = tiny_blueprint()
MANIFEST = manifest_for(BLUEPRINT).canonical()
PAYLOAD = statement.model_statement(
    manifest.SUBJECT,
    {manifest.LEARNGENE_FILE: "1" * 64, manifest.MANIFEST_FILE: hashlib.sha256(MANIFEST).hexdigest()},
    ignore=[manifest.BUNDLE_FILE],
)
CSR = enrolment.make_csr(SITE)
ROTATION = rotation.sign(SITE, RELEASE, LOG.name, "north")
BUNDLE = envelope.sign_statement(SITE, PAYLOAD)
_log = Log("pool.test/log")
_log.signer = LOG
_log.append(envelope.sign_statement(RELEASE, stated.site("north", "enrolled", SITE)), RELEASE)
_, RECEIPT = _log.append(BUNDLE, SITE)
HEAD = _log.head()
LEAF = receipt.leaf(Verified(PAYLOAD, envelope.parse(BUNDLE).signature, SITE.public))
COSIGNED = HEAD.note + witness.cosign(HEAD, WITNESS, 1_790_000_000)
ANCHORS = anchors.Anchors(
    address="pool.test:7443",
    ca_pem="-----BEGIN CERTIFICATE-----\n",
    root='{"signatures":[],"signed":{}}',
)
_ROOT = tempfile.TemporaryDirectory()
TRUSTED = trusted(LOG.public, RELEASE.public, SITE.public, [WITNESS.public.vkey], 1)
ROOT = TrustRoot(Path(_ROOT.name), TRUSTED, keys=[CryptoSigner(_ed25519(name)) for name in (b"r", b"t", b"o")])
INVITE = anchors.Invite(site="north", invite_id="0" * 32, secret="A" * 43, expires=stated.TIME, anchors=ANCHORS)
LINEAGE = descendant.Lineage(
    blueprint="1" * 64,
    seed="2" * 64,
    depth=2,
    heads=1,
    model="3" * 64,
    origin="pool.test/log",
    software="0",
    dependencies=[
        descendant.Dependency(
            contribution_id="4" * 64, site="north", license="CC-BY-4.0", milli=-333, sha256="5" * 64, log_index=7
        )
    ],
)
RECEIPTS = descendant.Receipts(
    receipts=[
        descendant.ReceiptEntry(contribution_id="4" * 64, manifest="AA==", receipt="AA==", site_key_pem=SITE.public.pem)
    ]
)
EVENTS = [
    stated.site("north", "approved", SITE),
    stated.decision(b"w"),
    stated.decision(b"w", passed=False),
    stated.withdrawal(b"w"),
    stated.erasure(b"w"),
]
TENSORS = [
    tensors.encode({"a": np.ones(2, np.float32), "b.c": np.zeros((2, 3), np.float32)}, "F32"),
    tensors.encode({"x": np.arange(6, dtype=np.float16).reshape(1, 2, 3), "s": np.float16(1)[...]}, "F16"),
]


def _head_example(*classes: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        weight, bias = np.ones((len(classes), WIDTH), np.float32), np.zeros(len(classes), np.float32)
        head_file.write(Path(name), Head(weight, bias), classes, _SHOWN)
        return (Path(name) / descendant.HEAD_FILE).read_bytes()


def _certificate() -> bytes:
    name, start = x509.Name([]), datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, RELEASE.private.public_key(), 1, start, start + timedelta(days=3650))
    signed = builder.sign(RELEASE.private, SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.PEM)


TARGETS = [
    Target("strict_json", [b'{"a":[1,-2,{"b":"\\u00e9"}],"c":null}', BUNDLE, MANIFEST], _strict),
    Target("json_with_floats", [b'{"a":[1.5,-2e3,0.25],"b":{"c":"x"}}', b'{"a":1e308}'], _floats),
    Target("canonical_json", [b'{"a":[1,-2,{"b":"x"}]}', MANIFEST, LEAF], _canonical),
    Target("tensor_header", [*TENSORS, *(raw for _, _, raw in HOSTILE if len(raw) < 2000)], _header),
    Target("bundle", [BUNDLE, RECEIPT], _bundle),
    Target("statement", [PAYLOAD, *EVENTS], _statement),
    Target("event", [*EVENTS, PAYLOAD], _event),
    Target("history", [*EVENTS, PAYLOAD], _signed_event),
    Target("manifest", [MANIFEST], _manifest),
    Target("blueprint", [BLUEPRINT.canonical()], _blueprint),
    Target("note", [HEAD.note.encode(), COSIGNED.encode()], _note),
    Target("checkpoint", [HEAD.note.encode(), COSIGNED.encode()], _checkpoint),
    Target("checkpoint_text", [HEAD.note.partition("\n\n")[0].encode() + b"\n"], _signed_text),
    Target("cosignatures", [COSIGNED.encode(), HEAD.note.encode()], _cosignatures),
    Target("receipt", [RECEIPT, BUNDLE], _receipt),
    Target("leaf", [LEAF], _leaf),
    Target("log_entries", [tiles.bundle([LEAF, b"", LEAF]), tiles.bundle([PAYLOAD] * 3)], _entries),
    Target(
        "tile_path",
        [b"tile/0/000", b"tile/entries/x001/234.p/17", b"statements/x001/x234/067", b"tile/63/255.p/1"],
        _tile_path,
    ),
    Target("head_file", [_head_example("cat", "l\u00f6we"), _head_example("x")], _head),
    Target("anchors", [ANCHORS.model_dump_json(by_alias=True).encode()], _read_from(anchors.read_anchors)),
    Target("invitation", [INVITE.model_dump_json(by_alias=True).encode()], _read_from(anchors.read_invite)),
    Target("trusted", [TRUSTED.encode()], _trusted),
    Target("trust_root", [ROOT.repository.read("timestamp.json")], _trust_root),  # for the hour that it lives
    Target("verifier_key", [LOG.public.vkey.encode()], _vkey),
    Target("key_pem", [SITE.public.pem.encode()], _pem),
    Target("key_der", [SITE.public.spki], _der),
    Target("csr", [CSR], _csr),
    Target("ca", [_certificate()], _ca),
    Target("rotation", [ROTATION[1], ROTATION[0]], _rotation),
    Target("rotation_payload", [envelope.parse(ROTATION[0]).payload], _rotation_payload),
    Target("provenance", [descendant.provenance_json(LINEAGE)], _provenance),
    Target("receipts", [RECEIPTS.canonical()], _receipts),
]
