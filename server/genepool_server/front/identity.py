"""Who the pool is on the wire: its own CA, and the TLS certificate that the CA issues to the server.

Clients pin the CA (`pool.json`), so the certificate may change at any time: when two thirds of its life are over, when
the host names change, and also while the server runs.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound
from genepool_server.pool import durable

_log = logging.getLogger(__name__)

CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=90)
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
"""Names that every certificate carries: consumers on the pool's own machine."""

_SKEW: Final = timedelta(hours=1)
"""Certificates are valid from before they are made: clocks differ."""
_DNS: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, both PEM, and when another one should take its place."""

    key: bytes
    chain: bytes
    renew_at: datetime


def create_ca(keys: Path, now: datetime) -> str:
    """Make the pool's CA as `ca.pem` and `ca.crt` in the folder of keys; returns the certificate.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when there is one.
    """
    key = SigningKey.generate()
    name = _name(f"genepool CA {key.public.keyid[:16]}")
    usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    made = (
        _builder(name, name, key, now, now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(key.private, SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    durable.create_exclusive(keys / "ca.pem", key.pem())
    durable.create_exclusive(keys / "ca.crt", pem, 0o644)
    return pem.decode()


def read_ca(keys: Path) -> str:
    """The CA's certificate.

    Raises:
        NotFound: FILE_MISSING.
        InvalidInput: KEY_MALFORMED.
    """
    return _certificate(_read(keys / "ca.crt"), "ca.crt").public_bytes(Encoding.PEM).decode()


def current(keys: Path, hosts: Iterable[str], now: datetime) -> Identity:
    """The server's certificate for these hosts; a new one is issued and stored when its time has come.

    Args:
        keys: the folder with the CA.
        hosts: names and IP addresses that clients connect to, besides `LOCAL`.
        now: the time.

    Raises:
        NotFound: FILE_MISSING, the CA.
        InvalidInput: KEY_MALFORMED, the CA; CONFIG_INVALID, a host is neither a name nor an address.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    names = _names(hosts)
    found = _stored(keys)
    if found is not None:
        identity, certificate = found
        same = set(_alternatives(certificate)) == set(names)
        if same and certificate.issuer == _ca(keys)[1].subject and now < identity.renew_at:
            return identity
    return _issue(keys, names, now)


def server_credentials(get: Callable[[], Identity], now: Callable[[], datetime]) -> grpc.ServerCredentials:
    """TLS for the server, without client certificates; a certificate whose time has come is replaced while it serves.

    Args:
        get: the current identity, which may issue a new one.
        now: the clock.
    """
    identity = get()

    def configuration(of: Identity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(of.key, of.chain)])

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal identity
        if now() < identity.renew_at:
            return None
        try:
            identity = get()
        except (GenepoolError, OSError):
            # the old certificate is valid for another month: a full disk must not take the pool away
            _log.exception("the TLS certificate could not be replaced")
            return None
        return configuration(identity)

    # None means no change, which the type stubs do not know
    return grpc.dynamic_ssl_server_credentials(configuration(identity), fetch)  # type: ignore[arg-type]


def _issue(keys: Path, names: list[x509.GeneralName], now: datetime) -> Identity:
    signer, ca = _ca(keys)
    key, end = SigningKey.generate(), min(now + SERVER_LIFE, ca.not_valid_after_utc)
    usage = dict.fromkeys(_USAGES, False) | {"digital_signature": True}
    made = (
        _builder(_name("genepool server"), ca.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.private.public_key()), critical=False)
        .sign(signer.private, SHA256())
    )
    identity = Identity(key.pem(), made.public_bytes(Encoding.PEM), _renewal(made))
    durable.write(keys / "tls.pem", identity.key)
    durable.write(keys / "tls.crt", identity.chain, 0o644)
    _log.info("issued a TLS certificate for %s until %s", ", ".join(str(name.value) for name in names), end.isoformat())
    return identity


def _stored(keys: Path) -> tuple[Identity, x509.Certificate] | None:
    try:
        key, chain = _read(keys / "tls.pem"), _read(keys / "tls.crt")
        certificate = _certificate(chain, "tls.crt")
        # a kill between the two writes leaves a key and a certificate that do not belong together
        if SigningKey.from_pem(key).private.public_key() != certificate.public_key():
            return None
    except (NotFound, InvalidInput):
        return None
    return Identity(key, chain, _renewal(certificate)), certificate


def _renewal(certificate: x509.Certificate) -> datetime:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def _alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    return [_general_name(host) for host in dict.fromkeys([*hosts, *LOCAL])]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _DNS.fullmatch(host):
            raise InvalidInput(
                "CONFIG_INVALID", f"{host[:253]!r} is neither a host name nor an IP address", "mend listen or advertise"
            ) from None
        return x509.DNSName(host)


def _ca(keys: Path) -> tuple[SigningKey, x509.Certificate]:
    return SigningKey.from_pem(_read(keys / "ca.pem"), "CA key"), _certificate(_read(keys / "ca.crt"), "ca.crt")


def _certificate(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise InvalidInput("KEY_MALFORMED", f"{what} is not a PEM certificate", "restore it from the backup") from exc


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound(
            "FILE_MISSING", f"the pool's file {path} cannot be read: {exc.strerror}", "restore it from the backup"
        ) from exc


_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: SigningKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    public = key.private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)
