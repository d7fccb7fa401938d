"""Keys: the one curve of each purpose, canonical texts, signatures that repeat."""

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

from genepool_protocol.trust.keys import LogSigner, LogVerifier, SigningKey, VerifyingKey
from genepool_protocol.wire.errors import VerificationError
from tests.support.refusals import reason_of

SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def pem(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, SPKI)


def private_pem(key, encryption=None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


OTHER_KEYS = {
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_only_p256_signs_statements(kind):
    assert reason_of(VerifyingKey.from_pem, pem(OTHER_KEYS[kind])) == "KEY_MALFORMED"
    assert reason_of(SigningKey.from_pem, private_pem(OTHER_KEYS[kind])) == "KEY_MALFORMED"


@pytest.mark.parametrize("kind", ["P-384", "secp256k1", "RSA"])
def test_only_ed25519_signs_checkpoints(kind):
    assert reason_of(LogSigner.from_pem, "pool/log", private_pem(OTHER_KEYS[kind])) == "KEY_MALFORMED"


@pytest.mark.parametrize(
    "text", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "\ud800"]
)
def test_what_is_no_key_is_refused(text):
    assert reason_of(VerifyingKey.from_pem, text) == "KEY_MALFORMED"
    assert reason_of(SigningKey.from_pem, text.encode(errors="replace")) == "KEY_MALFORMED"
    assert reason_of(LogSigner.from_pem, "pool/log", text.encode(errors="replace")) == "KEY_MALFORMED"


def test_an_encrypted_key_is_refused():
    locked = private_pem(ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"word"))
    assert reason_of(SigningKey.from_pem, locked) == "KEY_MALFORMED"


def test_a_private_key_is_no_public_key_and_the_other_way_round():
    key = SigningKey.generate()
    assert reason_of(VerifyingKey.from_pem, key.pem()) == "KEY_MALFORMED"
    assert reason_of(SigningKey.from_pem, key.public.pem.encode()) == "KEY_MALFORMED"


def test_a_key_survives_its_pem():
    key = SigningKey.generate()
    assert SigningKey.from_pem(key.pem()).public == key.public
    assert VerifyingKey.from_pem(key.public.pem) == key.public == VerifyingKey.from_pem(key.public.pem.encode())
    log = LogSigner.generate("pool/log")
    assert LogSigner.from_pem("pool/log", log.pem()).public == log.public


def test_every_spelling_of_a_key_becomes_the_one_canonical_text():
    private = ec.generate_private_key(ec.SECP256R1())
    canonical = VerifyingKey.of(private.public_key())
    spaced = "text around it\n" + canonical.pem.replace("\n", "\r\n") + "\n\n"
    assert VerifyingKey.from_pem(spaced) == canonical
    assert hashlib.sha256(canonical.spki).hexdigest() == canonical.keyid
    assert hashlib.sha256(canonical.pem.encode()).hexdigest() == canonical.hint


def test_signing_again_gives_the_same_bytes():
    key = SigningKey.generate()
    assert key.sign(b"message") == SigningKey.from_pem(key.pem()).sign(b"message")
    key.public.verify(key.sign(b"message"), b"message")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda signature, message, _: (signature, message + b"."),
        lambda signature, message, _: (signature[:-1] + bytes([signature[-1] ^ 1]), message),
        lambda signature, message, _: (b"", message),
        lambda signature, message, _: (b"\x30\x00", message),
        lambda signature, message, _: (signature + b"\x00", message),
        lambda _, message, other: (other.sign(message), message),
    ],
)
def test_a_signature_holds_for_one_key_and_one_message(break_it):
    key, message = SigningKey.generate(), b"message"
    signature, changed = break_it(key.sign(message), message, SigningKey.generate())
    with pytest.raises(VerificationError) as caught:
        key.public.verify(signature, changed)
    assert caught.value.reason == "SIGNATURE_INVALID"


def test_a_signature_with_zero_values_is_refused():
    with pytest.raises(VerificationError):
        SigningKey.generate().public.verify(utils.encode_dss_signature(0, 0), b"message")


def test_a_verifier_key_is_the_text_that_c2sp_defines():
    known = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"  # C2SP signed-note, Go's x/mod
    key = LogVerifier.parse(known)
    assert (key.name, key.note_id.hex(), key.vkey) == ("PeterNeumann", "c74f20a3", known)
    assert key.log_id[:4] == key.note_id


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "PeterNeumann+c74f20a3",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW=",  # Python's base64 passes over it
    ],
)
def test_a_verifier_key_that_contradicts_itself_is_refused(vkey):
    assert reason_of(LogVerifier.parse, vkey) == "KEY_MALFORMED"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "größe", "x" * 256])
def test_a_log_cannot_have_a_name_that_no_note_can_carry(name):
    assert reason_of(LogSigner.generate, name) == "NAME_INVALID"


def test_an_ed25519_signature_holds_for_one_key_and_one_message():
    signer = LogSigner.generate("pool/log")
    signature = signer.sign(b"text")
    assert signer.public.holds(signature, b"text")
    assert not signer.public.holds(signature, b"texts")
    assert not signer.public.holds(signature[:-1], b"text")
    assert not LogSigner.generate("pool/log").public.holds(signature, b"text")


def test_a_key_under_a_passphrase_opens_with_it_and_with_nothing_else():
    key = SigningKey.generate()
    sealed = key.pem(b"horse")
    assert SigningKey.encrypted(sealed)
    assert not SigningKey.encrypted(key.pem())
    assert SigningKey.from_pem(sealed, passphrase=b"horse").public == key.public
    assert reason_of(SigningKey.from_pem, sealed, "key", b"hors") == "PASSPHRASE_INVALID"
    assert reason_of(SigningKey.from_pem, sealed) == "KEY_MALFORMED"
