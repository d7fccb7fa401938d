"""Private keys on the disk: read where nobody else can, or not at all."""

import pytest

from genepool_protocol.trust.key_files import TlsIdentity, read_private
from genepool_protocol.trust.keys import SigningKey
from genepool_server.tls import client_ca
from tests.support.refusals import refusal_of
from tests.support.sites import NOW


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    path = folder / "tls.pem"
    path.write_bytes(SigningKey.generate().pem())
    path.chmod(0o600)
    return folder


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_open_is_refused_with_the_cure(keys, mode):
    path = keys / "tls.pem"
    path.chmod(mode)
    error = refusal_of(read_private, path, "restore it")
    assert error.reason == "KEY_EXPOSED"
    assert f"chmod 600 {path}" in error.fix
    path.chmod(0o400)
    assert read_private(path, "restore it") == path.read_bytes()


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_key_in_a_folder_that_others_can_enter_is_refused(keys, mode):
    keys.chmod(mode)
    error = refusal_of(read_private, keys / "tls.pem", "restore it")
    assert (error.reason, f"chmod 700 {keys}" in error.fix) == ("KEY_EXPOSED", True)


def test_a_key_that_is_gone_is_named(keys):
    error = refusal_of(read_private, keys / "other.pem", "restore it")
    assert (error.reason, error.fix) == ("FILE_MISSING", "restore it")


def test_key_and_certificate_live_in_one_file_and_belong_together(keys):
    client_ca.create(keys, NOW)
    found = TlsIdentity.read(keys / "tls.pem")
    assert found.chain == b""
    issuer = client_ca.Issuer(keys, "pool.test/log", client_ca.CA_LIFE)
    pem = issuer.issue(found.key.public, "north", NOW)
    (keys / "tls.pem").write_bytes(found.key.pem() + pem.encode())
    assert TlsIdentity.read(keys / "tls.pem").chain == pem.encode()
    foreign = issuer.issue(SigningKey.generate().public, "north", NOW)
    (keys / "tls.pem").write_bytes(found.key.pem() + foreign.encode())
    assert refusal_of(TlsIdentity.read, keys / "tls.pem").reason == "KEY_MALFORMED"
