"""Wycheproof: the primitives behave, called the way that we call them."""

from genepool_protocol.trust.keys import LogVerifier, VerifyingKey
from genepool_protocol.wire.errors import VerificationError


def vectors_of(document, count):
    assert document["numberOfTests"] == count
    for group in document["testGroups"]:
        for case in group["tests"]:
            yield group, case, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])


def holds(key: VerifyingKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except VerificationError as exc:
        return exc.reason != "SIGNATURE_INVALID"
    return True


def test_ecdsa_p256_with_sha256(read):
    wrong = [
        case["tcId"]
        for group, case, signature, message in vectors_of(read("wycheproof/ecdsa_secp256r1_sha256_test.json"), 484)
        if holds(VerifyingKey.from_pem(group["publicKeyPem"]), signature, message) is not (case["result"] == "valid")
    ]
    assert not wrong


def test_ed25519(read):
    wrong = [
        case["tcId"]
        for group, case, signature, message in vectors_of(read("wycheproof/ed25519_test.json"), 151)
        if LogVerifier("log", bytes.fromhex(group["publicKey"]["pk"])).holds(signature, message)
        is not (case["result"] == "valid")
    ]
    assert not wrong
