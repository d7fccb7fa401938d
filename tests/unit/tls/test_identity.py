"""The pool's CA and TLS certificate: what is in them, when another one is issued."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc.aio
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from genepool_protocol.wire.errors import InvalidInput, NotFound, StorageError
from genepool_server.tls import identity

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path):
    identity.create_ca(tmp_path, NOW)
    return tmp_path


def certificate(found: identity.Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(found.chain)


def extension(of: x509.Certificate, kind):
    return of.extensions.get_extension_for_class(kind).value


def test_the_ca_may_sign_certificates_and_lives_ten_years(keys):
    ca = x509.load_pem_x509_certificate(identity.read_ca(keys).encode())
    assert extension(ca, x509.BasicConstraints).ca
    assert extension(ca, x509.KeyUsage).key_cert_sign
    assert ca.not_valid_after_utc == NOW + timedelta(days=3650)
    ca.verify_directly_issued_by(ca)
    assert (keys / "ca.pem").stat().st_mode & 0o777 == 0o600


def test_a_second_ca_is_never_made_over_the_first(keys):
    before = (keys / "ca.pem").read_bytes()
    with pytest.raises(StorageError) as caught:
        identity.create_ca(keys, NOW)
    assert caught.value.reason == "DISK_FAILED"
    assert (keys / "ca.pem").read_bytes() == before


def test_the_certificate_is_the_cas_for_serving_under_the_hosts_and_loopback(keys):
    made = certificate(identity.current(keys, ["pool.example", "192.0.2.7"], NOW))
    ca = x509.load_pem_x509_certificate(identity.read_ca(keys).encode())
    made.verify_directly_issued_by(ca)
    names = extension(made, x509.SubjectAlternativeName)
    assert set(names.get_values_for_type(x509.DNSName)) == {"pool.example", "localhost"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {ip_address(a) for a in ("192.0.2.7", "127.0.0.1", "::1")}
    assert list(extension(made, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(made, x509.BasicConstraints).ca
    assert made.not_valid_after_utc - NOW == timedelta(days=90)
    assert (keys / "tls.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("days", "hosts", "same"),
    [(0, ["a.example"], True), (59, ["a.example"], True), (61, ["a.example"], False), (1, ["b.example"], False)],
)
def test_another_certificate_is_issued_when_two_thirds_are_over_or_the_hosts_changed(keys, days, hosts, same):
    first = identity.current(keys, ["a.example"], NOW)
    second = identity.current(keys, hosts, NOW + timedelta(days=days))
    assert (first.chain == second.chain) is same
    assert (first.key == second.key) is same
    assert identity.current(keys, hosts, NOW + timedelta(days=days)) == second


def test_a_certificate_never_outlives_its_ca(keys):
    late = NOW + timedelta(days=3640)
    assert certificate(identity.current(keys, [], late)).not_valid_after_utc == NOW + timedelta(days=3650)


@pytest.mark.parametrize("damage", ["other key", "garbage", "missing"])
def test_what_a_kill_left_between_key_and_certificate_is_replaced(keys, damage):
    first = identity.current(keys, [], NOW)
    if damage == "missing":
        (keys / "tls.crt").unlink()
    else:
        (keys / "tls.pem").write_bytes((keys / "ca.pem").read_bytes() if damage == "other key" else b"garbage")
    second = identity.current(keys, [], NOW)
    assert second.chain != first.chain
    assert (keys / "tls.pem").read_bytes() == second.key


def test_a_certificate_of_another_ca_is_replaced(keys, tmp_path):
    first = identity.current(keys, [], NOW)
    for name in ("ca.pem", "ca.crt"):
        (keys / name).unlink()
    identity.create_ca(keys, NOW)
    assert identity.current(keys, [], NOW).chain != first.chain


def test_a_lost_ca_is_named(tmp_path):
    with pytest.raises(NotFound) as caught:
        identity.current(tmp_path, [], NOW)
    assert caught.value.reason == "FILE_MISSING"
    assert "ca.pem" in caught.value.message


def test_a_damaged_ca_is_named(keys):
    (keys / "ca.crt").write_bytes(b"garbage")
    with pytest.raises(InvalidInput) as caught:
        identity.read_ca(keys)
    assert caught.value.reason == "KEY_MALFORMED"


@pytest.mark.parametrize("host", ["not a host", "-x", "", "a/b"])
def test_a_host_that_is_none_is_refused(keys, host):
    with pytest.raises(InvalidInput) as caught:
        identity.current(keys, [host], NOW)
    assert caught.value.reason == "CONFIG_INVALID"


def test_a_running_server_changes_to_a_new_certificate_and_keeps_the_old_one_when_it_cannot(keys):
    clock = [datetime.now(UTC)]
    broken = []

    def get() -> identity.Identity:
        if broken:
            raise StorageError("DISK_FULL", "full")
        return identity.current(keys, [], clock[0])

    async def shown() -> list[str]:
        server = grpc.aio.server()
        port = server.add_secure_port("127.0.0.1:0", identity.server_credentials(get, lambda: clock[0]))
        await server.start()
        found = []
        for days, fails in ((0, False), (0, False), (61, True), (61, False)):
            clock[0] += timedelta(days=days)
            broken[:] = [True] * fails
            found.append(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)))
        await server.stop(0)
        return found

    first, again, without_disk, replaced = asyncio.run(shown())
    assert first == again == without_disk != replaced
