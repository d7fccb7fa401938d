"""A site's way in: its certificate is fetched once the operator has approved it, and renewed before it ends."""

import logging
from datetime import UTC, datetime, timedelta

from genepool_client.site.folder import SiteFolder
from genepool_client.transport.channel import Connection
from genepool_protocol.trust import rotation
from genepool_protocol.trust.enrolment import make_csr
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError, NotFound, Refused, Unavailable

_log = logging.getLogger(__name__)

_STATES: dict[int, str] = {
    pb.SITE_STATE_INVITED: "invited",
    pb.SITE_STATE_PENDING: "pending",
    pb.SITE_STATE_SUSPENDED: "suspended",
}


def connect(site: SiteFolder, timeout: float = 30.0) -> Connection:
    """A connection under the site's certificate; see `ready`."""
    return Connection(site.config.anchors, timeout, identity=ready(site), trust=site.trust)


def connect_anyhow(site: SiteFolder) -> Connection:
    """A connection under the certificate if there is one, else without: for what a site may do that is shut out."""
    try:
        return connect(site)
    except (NotFound, Refused) as exc:
        _log.info("without a certificate: %s", exc.message)
        return Connection(site.config.anchors, trust=site.trust)


def ready(site: SiteFolder) -> TlsIdentity:
    """The site's TLS key and certificate, which is fetched or renewed before when it is time.

    Raises:
        Refused: SITE_NOT_ACTIVE, KEY_REVOKED, CERT_UNKNOWN; CERT_EXPIRED, it was not renewed in time.
        NotFound: SITE_UNKNOWN, it has not enrolled.
        GenepoolError: as `Connection.call`, or a key cannot be read.
    """
    identity = site.keys.tls()
    if not identity.chain:
        identity = fetch(site)
    now = datetime.now(UTC)
    if now > identity.ends:
        raise Refused(
            "CERT_EXPIRED",
            f"the certificate of {site.config.name} ended at {identity.ends:%Y-%m-%d %H:%M} UTC",
            "ask the operator for a new invitation (--again), then: genepool site enrol DIR --invite FILE",
        )
    return _renewed_if_possible(site, identity) if now >= identity.renew_at else identity


def fetch(site: SiteFolder) -> TlsIdentity:
    """Fetch the first certificate.

    Raises:
        Refused: SITE_NOT_ACTIVE, KEY_REVOKED or CERT_UNKNOWN.
        NotFound: SITE_UNKNOWN.
        GenepoolError: as `Connection.call`.
    """
    identity = site.keys.tls()
    with Connection(site.config.anchors, trust=site.trust) as connection:
        response = ask(site, connection, identity)
    if not response.certificate_pem:
        raise _none(site, response.state)
    return site.keys.keep_certificate(identity.key, response.certificate_pem)


def ask(site: SiteFolder, connection: Connection, identity: TlsIdentity) -> pb.GetEnrolmentResponse:
    """The pool's view of the site and of one of its TLS keys.

    Raises:
        NotFound: SITE_UNKNOWN.
        GenepoolError: as `Connection.call`.
    """
    request = pb.GetEnrolmentRequest(site=site.config.name, tls_keyid=identity.key.public.keyid)
    return connection.call(connection.enrolment.GetEnrolment, request)


def renew(site: SiteFolder, identity: TlsIdentity) -> TlsIdentity:
    """Replace TLS key and certificate, under the old ones; an interrupted renewal is finished.

    Raises:
        GenepoolError: as `Connection.call`, and what the pool refuses.
    """
    fresh = site.keys.next_tls()
    with Connection(site.config.anchors, identity=identity, trust=site.trust) as connection:
        pem = _answered_before(site, connection, fresh)
        if not pem:
            request = pb.RenewRequest(tls_csr=make_csr(fresh.key))
            pem = connection.call(connection.account.Renew, request).certificate_pem
    return site.keys.keep_certificate(fresh.key, pem)


def rotate_signing(site: SiteFolder, passphrase: bytes | None) -> str:
    """Replace the signing key, by a statement that both keys sign; answers until when the old one is accepted.

    Raises:
        GenepoolError: as `connect`, and what the pool refuses.
    """
    old, new = site.signing_key(), site.keys.next_signing(passphrase)
    with connect(site) as connection:
        by_old, by_new = rotation.sign(old, new, connection.trusted.origin, site.config.name)
        request = pb.RotateSigningKeyRequest(by_old=by_old, by_new=by_new)
        response = connection.call(connection.account.RotateSigningKey, request)
    site.keys.adopt_signing()
    return response.old_ends


def _renewed_if_possible(site: SiteFolder, identity: TlsIdentity) -> TlsIdentity:
    try:
        return renew(site, identity)
    except Unavailable as exc:
        left = identity.ends - datetime.now(UTC)
        _log.warning("the certificate was not renewed and is valid for %d days more: %s", left / timedelta(days=1), exc)
        return identity


def _answered_before(site: SiteFolder, connection: Connection, fresh: TlsIdentity) -> str:
    """The certificate of a renewal whose answer was lost: the old key may have ended since."""
    try:
        return ask(site, connection, fresh).certificate_pem
    except NotFound:
        return ""


def _none(site: SiteFolder, state: int) -> GenepoolError:
    name = site.config.name
    if state == pb.SITE_STATE_REVOKED:
        return Refused("KEY_REVOKED", f"the site {name} was revoked", "ask the pool's operator")
    if state in _STATES:
        return Refused(
            "SITE_NOT_ACTIVE",
            f"the site {name} is {_STATES[state]}, so it has no certificate yet",
            f"read the fingerprint to the operator, who then runs: genepool-server approve {name}",
        )
    return Refused("CERT_UNKNOWN", f"the pool has replaced the TLS key of {name}", "enrol with a new invitation")
