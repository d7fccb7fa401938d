"""Private keys on the disk: read only where nobody else can; a site's TLS key and certificate in one file."""

import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cryptography import x509

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import InvalidInput, NotFound, VerificationError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


def read_private(path: Path, lost: str) -> bytes:
    """A file that only this user can read, in a folder that only this user can enter.

    Args:
        path: the file.
        lost: what to do when it is not there.

    Raises:
        NotFound: FILE_MISSING.
        VerificationError: KEY_EXPOSED.
    """
    try:
        for place, mode in ((path.parent, "700"), (path, "600")):
            status = place.stat()
            if status.st_mode & _OTHERS:
                raise VerificationError(
                    "KEY_EXPOSED",
                    f"{place} is open to other users (mode {stat.S_IMODE(status.st_mode):o})",
                    f"if nobody has read the key: chmod {mode} {place}; otherwise replace it",
                )
        return path.read_bytes()
    except OSError as exc:
        raise NotFound("FILE_MISSING", f"the key {path} cannot be read: {exc.strerror}", lost) from exc


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A TLS key, and its certificate once there is one.

    Attributes:
        path: the file that it is in.
        key: the private key.
        chain: the certificate in PEM; empty before the pool issued it.
    """

    path: Path
    key: SigningKey
    chain: bytes

    @classmethod
    def read(cls, path: Path, lost: str = "enrol again with a new invitation") -> Self:
        """The identity in a file: the key, then the certificate.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED, also when key and certificate do not belong together.
        """
        raw = read_private(path, lost)
        key, begin, chain = raw.partition(_BEGIN)
        pair = cls(path, SigningKey.from_pem(key, f"TLS key {path}"), begin + chain)
        if pair.chain:
            pair.check()
        return pair

    def check(self) -> None:
        """Refuse a certificate that is for another key.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        if self.certificate().public_key() != self.key.private.public_key():
            raise InvalidInput("KEY_MALFORMED", f"the certificate for {self.path} is for another key", "enrol again")

    def pem(self) -> bytes:
        """The file's content."""
        return self.key.pem() + self.chain

    def certificate(self) -> x509.Certificate:
        """The certificate.

        Raises:
            InvalidInput: KEY_MALFORMED, there is none, or it is no certificate.
        """
        try:
            return x509.load_pem_x509_certificate(self.chain)
        except ValueError as exc:
            raise InvalidInput("KEY_MALFORMED", "the site's TLS certificate is not PEM", "enrol again") from exc

    @property
    def ends(self) -> datetime:
        """Until when the certificate is valid."""
        return self.certificate().not_valid_after_utc

    @property
    def renew_at(self) -> datetime:
        """When two thirds of its life are over."""
        start = self.certificate().not_valid_before_utc
        return start + (self.ends - start) * 2 / 3
