"""DSSE v1 as securesystemslib reads it: the second implementation that takes what a site signs."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from genepool_protocol.trust.keys import SigningKey
from tests.support.genes import tiny_blueprint
from tests.support.sites import signed


def stock_key(key: SigningKey) -> SSlibKey:
    return SSlibKey.from_crypto(load_pem_public_key(key.public.pem.encode()), keyid=key.public.keyid)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def read(key):
    """Reads the envelope of a contribution's model.sig, with members changed; `from_dict` takes its argument apart."""
    packed = signed(tiny_blueprint(), key, np.random.default_rng(0))
    return lambda **changes: Envelope.from_dict(json.loads(packed.bundle)["dsseEnvelope"] | changes)


def test_securesystemslib_accepts_what_a_site_signs(read, key):
    accepted = read().verify([stock_key(key)], threshold=1)
    assert list(accepted) == [key.public.keyid]


def test_it_refuses_another_key_or_another_payload_type(read, key):
    with pytest.raises(VerificationError):
        read().verify([stock_key(SigningKey.generate())], threshold=1)
    with pytest.raises(VerificationError):
        read(payloadType="text/plain").verify([stock_key(key)], threshold=1)
