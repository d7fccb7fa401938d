"""The registry held against itself: every TLS key is the one that its row and its certificate name."""

from collections.abc import Iterator, Sequence
from typing import Any

from cryptography import x509

from genepool_protocol.trust.enrolment import site_uri
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.errors import GenepoolError


def check(rows: Sequence[Any], origin: str) -> Iterator[tuple[str, str]]:
    """(key, problem) of each row of `tls_key` that contradicts itself, and of each site with two current ones.

    Args:
        rows: of the table.
        origin: name of the pool.
    """
    current: set[str] = set()
    for row in rows:
        why = _problem(row, origin)
        if why:
            yield row.keyid, why
        if row.ends is None and row.site in current:
            yield row.keyid, f"{row.site} has more than one current TLS key"
        current |= {row.site} if row.ends is None else set()


def _problem(row: Any, origin: str) -> str:
    try:
        key = VerifyingKey.from_pem(row.pem)
        if (key.keyid, key.pem) != (row.keyid, row.pem):
            return "the row and its TLS key disagree"
        if row.certificate is None:
            return ""
        certificate = x509.load_pem_x509_certificate(row.certificate.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if VerifyingKey.of(certificate.public_key()) != key:
            return "its certificate is for another key"
    except (GenepoolError, ValueError, x509.ExtensionNotFound):
        return "its TLS key or certificate cannot be read"
    return (
        "" if [name.value for name in names] == [site_uri(origin, row.site)] else "its certificate names another site"
    )
