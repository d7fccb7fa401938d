"""The CA that vouches for sites: nobody pins it but the pool's own server, so it can change without a word to anyone.

There is no revocation list. The registry is asked on every call, and what it does not know as active is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from genepool_protocol.trust.enrolment import site_uri
from genepool_protocol.trust.keys import VerifyingKey
from genepool_server.tls import certificates

CA_LIFE: Final = timedelta(days=3650)
_STEM: Final = "client-ca"


def create(keys: Path, now: datetime) -> None:
    """Make the CA as `client-ca.pem` and `client-ca.crt` in the folder of keys.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when there is one.
    """
    certificates.create_authority(keys, _STEM, "genepool sites", now, CA_LIFE)


def read(keys: Path) -> bytes:
    """The CA's certificate in PEM.

    Raises:
        NotFound: FILE_MISSING.
        InvalidInput: KEY_MALFORMED.
    """
    return certificates.Authority.certificate_of(keys, _STEM).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues certificates to sites.

    Attributes:
        keys: the folder with the CA.
        origin: name of the pool.
        life: how long a certificate is valid.
    """

    keys: Path
    origin: str
    life: timedelta

    def issue(self, key: VerifyingKey, site: str, now: datetime) -> str:
        """A certificate in PEM with the site's one name; whatever the site asked for beside the key is ignored.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(site_uri(self.origin, site))])
        authority = certificates.Authority.read(self.keys, _STEM)
        certificate = authority.issue(key, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, now + self.life)
        return certificate.public_bytes(Encoding.PEM).decode()
