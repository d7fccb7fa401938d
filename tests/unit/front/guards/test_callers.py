"""Who calls: from a certificate and the registry to a site and its roles, or to a refusal with its own reason."""

import socket
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import Refused
from genepool_server.front.guards.callers import Caller, NetworkCallers
from genepool_server.pool.sites.tls_key_cache import Holder
from genepool_server.tls import client_ca

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORIGIN = "pool.test/log"
ROLES = frozenset({"contributor"})
CONSUMER = frozenset({"consumer"})


class Context:
    """What gRPC tells of a call."""

    def __init__(self, chain: str = "", peer: str = "ipv4:192.0.2.7:4711") -> None:
        self._chain, self._peer = chain, peer

    def auth_context(self):
        return {"x509_pem_cert": [self._chain.encode()]} if self._chain else {"transport_security_type": [b"ssl"]}

    def peer(self):
        return self._peer


@pytest.fixture(scope="module")
def key():
    return SigningKey.generate()


@pytest.fixture(scope="module")
def chain(tmp_path_factory, key):
    keys = tmp_path_factory.mktemp("keys")
    keys.chmod(0o700)
    client_ca.create(keys, NOW)
    return client_ca.Issuer(keys, ORIGIN, timedelta(days=90)).issue(key.public, "north", NOW)


def asked(chain, key, holder, *, origin=ORIGIN, now=NOW):
    known = {key.public.keyid: holder} if holder else {}
    return NetworkCallers(known.get, origin, "nobody", lambda: now)(Context(chain))


def reason_of(*arguments, **options):
    with pytest.raises(Refused) as caught:
        asked(*arguments, **options)
    return caught.value.reason


def test_a_certificate_of_an_active_site_is_its_caller_with_the_roles_of_today(chain, key):
    assert asked(chain, key, Holder("north", "ACTIVE", ROLES, None)) == Caller("north", ROLES)
    assert asked(chain, key, Holder("north", "ACTIVE", CONSUMER, NOW)) == Caller("north", CONSUMER)


@pytest.mark.parametrize(
    ("holder", "reason"),
    [
        (None, "CERT_UNKNOWN"),
        (Holder("south", "ACTIVE", ROLES, None), "CERT_UNKNOWN"),
        (Holder("north", "INVITED", ROLES, None), "SITE_NOT_ACTIVE"),
        (Holder("north", "PENDING", ROLES, None), "SITE_NOT_ACTIVE"),
        (Holder("north", "SUSPENDED", ROLES, None), "SITE_NOT_ACTIVE"),
        (Holder("north", "REVOKED", ROLES, None), "KEY_REVOKED"),
        (Holder("north", "ACTIVE", ROLES, NOW - timedelta(seconds=1)), "CERT_UNKNOWN"),
    ],
)
def test_what_the_registry_does_not_know_as_active_is_refused(chain, key, holder, reason):
    assert reason_of(chain, key, holder) == reason


def test_a_certificate_ends(chain, key):
    holder = Holder("north", "ACTIVE", ROLES, None)
    assert asked(chain, key, holder, now=NOW + timedelta(days=90)).site == "north"
    assert reason_of(chain, key, holder, now=NOW + timedelta(days=90, seconds=1)) == "CERT_EXPIRED"


def test_a_certificate_of_another_pool_under_the_same_ca_is_refused(chain, key):
    assert reason_of(chain, key, Holder("north", "ACTIVE", ROLES, None), origin="other/log") == "CERT_UNKNOWN"


def test_what_is_no_certificate_is_refused(key):
    assert reason_of("-----BEGIN CERTIFICATE-----\n", key, None) == "CERT_UNKNOWN"


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.8.9.1:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:4711", True),
        ("unix:/somewhere", True),
        ("ipv4:192.0.2.7:4711", False),
        ("ipv6:%5B2001:db8::1%5D:4711", False),
        ("ipv6:%5B::ffff:192.0.2.7%5D:4711", False),
        ("", False),
        ("ipv4:127.0.0.1.example:1", False),
    ],
)
def test_who_consumes_without_a_certificate_depends_on_where_he_is(peer, here):
    for setting, welcome in (("nobody", False), ("local", here), ("everybody", True)):
        callers = NetworkCallers(lambda _: None, ORIGIN, setting, lambda: NOW)
        assert callers(Context(peer=peer)) == Caller("", CONSUMER if welcome else frozenset())


def test_a_program_of_this_machine_is_known_by_any_of_its_addresses():
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    own = {address.address for address in found if address.family == socket.AF_INET}
    assert "127.0.0.1" in own
    callers = NetworkCallers(lambda _: None, ORIGIN, "local", lambda: NOW)
    for address in own:
        assert callers(Context(peer=f"ipv4:{address}:4711")).roles == CONSUMER
