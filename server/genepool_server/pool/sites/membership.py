"""Sites: the machine of their states, how one enrols with an invitation, and the operator's word on it."""

import base64
import hmac
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Row

from genepool_protocol.trust import enrolment
from genepool_protocol.trust.enrolment import Application
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.access import DEFAULT_ROLES, NETWORK_ROLES
from genepool_protocol.wire.documents import Name, moment, stamp
from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused, VerificationError
from genepool_server.pool.log.signed_events import Notary, SiteEventName
from genepool_server.pool.rows import registry_rows, site_rows
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Site, SiteState

_log: Final = logging.getLogger(__name__)

MOVES: Final[frozenset[tuple[SiteState, SiteState]]] = frozenset(
    {
        ("PENDING", "ACTIVE"),
        ("SUSPENDED", "ACTIVE"),
        ("ACTIVE", "SUSPENDED"),
        ("INVITED", "REVOKED"),
        ("PENDING", "REVOKED"),
        ("ACTIVE", "REVOKED"),
        ("SUSPENDED", "REVOKED"),
    }
)
"""(from, to), as the operator may move a site. INVITED -> PENDING is the site's own step."""

INVITE_LIFE: Final = timedelta(days=3)
"""How long an invitation can be used unless the operator says otherwise."""

_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


def check_name(name: str) -> None:
    """Refuse a name that could not be part of a file's name or of a certificate.

    Raises:
        InvalidInput: NAME_INVALID.
    """
    try:
        _NAME.validate_python(name, strict=True)
    except ValidationError as exc:
        raise InvalidInput(
            "NAME_INVALID",
            f"{name[:64]!r} is no site name",
            "use 1 to 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends",
        ) from exc


def known(tx: Connection, name: str) -> Site:
    """The site of that name.

    Raises:
        NotFound: SITE_UNKNOWN.
    """
    site = site_rows.site(tx, name)
    if site is None:
        raise NotFound("SITE_UNKNOWN", f"the pool knows no site {name[:64]!r}", "list them with genepool-server sites")
    return site


EVENTS: Final[dict[SiteState, SiteEventName]] = {"ACTIVE": "approved", "SUSPENDED": "suspended", "REVOKED": "revoked"}
"""What the log calls the operator's step to a state."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What makes a stranger a site: an id, a secret in base64url, and until when they can be used."""

    invite_id: str
    secret: str
    expires: str


def record_decision(notary: Notary, tx: Connection, event: SiteEventName, site: Site, keyid: str = "") -> None:
    """The one place that every decision on a site passes, in its transaction.

    Args:
        notary: signs and logs it.
        tx: of `Notary.transaction`.
        event: what happened.
        site: as it is now; one that has not enrolled is none of the log's.
        keyid: of the signing key that it is about; the current one unless it is given.
    """
    _log.info("site %s %s, now %s, fingerprint %s", site.name, event, site.state, site.fingerprint or "none")
    if keyid or site.keyid:
        notary.site_event(tx, site.name, event, keyid or site.keyid)


def invite(
    ledger: Ledger,
    notary: Notary,
    name: str,
    now: datetime,
    *,
    life: timedelta = INVITE_LIFE,
    roles: Sequence[str] = DEFAULT_ROLES,
    again: bool = False,
) -> Invitation:
    """A fresh invitation; an earlier one is void.

    Args:
        ledger: of the pool.
        notary: logs it, when keys end by it.
        name: of the site.
        now: the time.
        life: how long it can be used.
        roles: what the site will be.
        again: also for a site that has enrolled: all its keys end now, and it begins anew under its name.

    Raises:
        InvalidInput: NAME_INVALID; OPTION_INVALID, a role or life that there is not.
        Refused: SITE_EXISTS.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    check_name(name)
    _check_terms(life, roles)
    invitation = Invitation(
        os.urandom(16).hex(), base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode(), stamp(now + life)
    )
    with ledger.read() as tx:
        _invitable(tx, name, again=again)
    with notary.transaction() as tx:
        site = _invitable(tx, name, again=again)
        if site is None:
            site_rows.add_site(tx, name, "INVITED")
        elif site.state != "INVITED":
            _end_keys(tx, site, stamp(now))
            site_rows.set_site_state(tx, name, "INVITED")
        registry_rows.set_roles(tx, name, roles)
        site_rows.put_invite(tx, name, invitation.invite_id, invitation.secret, stamp(now), invitation.expires)
        lost = site.keyid if site is not None and site.state != "INVITED" else ""
        record_decision(notary, tx, "invited", known(tx, name), lost)
    return invitation


def _invitable(tx: Connection, name: str, *, again: bool) -> Site | None:
    """The site that is invited, None for a new one; refused when it has enrolled already."""
    site = site_rows.site(tx, name)
    if site is not None and site.state != "INVITED" and (not again or site.state == "REVOKED"):
        raise Refused("SITE_EXISTS", f"the site {name} is {site.state.lower()} already", _OTHER_NAME)
    return site


_OTHER_NAME: Final = "choose another name; if the site has lost its keys, invite it with --again"


def _check_terms(life: timedelta, roles: Sequence[str]) -> None:
    if not roles or not set(roles) <= set(NETWORK_ROLES):
        raise InvalidInput("OPTION_INVALID", "a site is invited without a role that there is", _ROLES)
    if not timedelta(seconds=1) <= life <= timedelta(days=365):
        raise InvalidInput("OPTION_INVALID", "an invitation lives between a second and a year", "choose another time")


_ROLES: Final = f"choose of {', '.join(NETWORK_ROLES)}"


def _end_keys(tx: Connection, site: Site, ends: str) -> None:
    registry_rows.end_tls(tx, site.name, ends)
    registry_rows.end_replaced(tx, site.name, ends)
    if site.keyid:
        registry_rows.replace_signing(tx, site.keyid, ends)


def enrol(ledger: Ledger, notary: Notary, application: Application, mac: bytes, channel: bytes, now: datetime) -> Site:
    """Register the keys of an invited site; the same call again gives the same answer.

    Args:
        ledger: of the pool.
        notary: logs it.
        application: what the site sent.
        mac: under the invitation's secret.
        channel: SHA-256 of the key of the CA that clients pin.
        now: the time.

    Raises:
        InvalidInput: KEY_MALFORMED.
        VerificationError: SIGNATURE_INVALID, a key did not sign its own request; INVITE_INVALID.
        Refused: INVITE_EXPIRED, INVITE_USED or KEY_IN_USE.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    name = application.site
    with ledger.read() as tx:
        _invited(tx, application)  # the work of checking keys is not for strangers
    tls = enrolment.read_csr(application.tls_csr, "request for the TLS key")
    signing = enrolment.read_csr(application.signing_csr, "request for the signing key")
    form = _Form(application, mac, notary.origin, channel, tls, signing, now)
    with ledger.read() as tx:  # a stranger must not make anybody wait for the writer
        if (site := _enrolled(tx, form)) is not None:
            return site
    with notary.transaction() as tx:
        if (site := _enrolled(tx, form)) is not None:
            return site
        site_rows.add_key(tx, name, signing)
        registry_rows.add_tls(tx, name, tls)
        site_rows.use_invite(tx, application.invite_id, mac, signing.keyid, tls.keyid)
        site_rows.set_site_state(tx, name, "PENDING")
        site = known(tx, name)
        record_decision(notary, tx, "enrolled", site)
    return site


@dataclass(frozen=True, slots=True)
class _Form:
    """An application whose keys signed their own requests, as it came to a pool over a channel."""

    application: Application
    mac: bytes
    origin: str
    channel: bytes
    tls: VerifyingKey
    signing: VerifyingKey
    now: datetime


def _enrolled(tx: Connection, form: _Form) -> Site | None:
    """The site if the very same application was taken before; None: it may be taken now. Else it is refused."""
    name = form.application.site
    invite = _invited(tx, form.application)
    if invite.secret is None:
        _same_again(invite, name, form.mac, form.tls, form.signing)
        return known(tx, name)
    if not hmac.compare_digest(enrolment.mac(invite.secret, form.origin, form.channel, form.application), form.mac):
        raise _invalid(name)
    if known(tx, name).state != "INVITED":
        raise _invalid(name)  # revoked before it enrolled
    if form.now > moment(invite.expires):
        raise Refused(
            "INVITE_EXPIRED",
            f"the invitation of {name} ended at {invite.expires}",
            "ask the pool's operator for a new one",
        )
    check_new(tx, form.tls, form.signing)
    return None


def _invited(tx: Connection, application: Application) -> Row[Any]:
    invite = site_rows.invite(tx, application.site)
    if invite is None or not hmac.compare_digest(invite.invite_id.encode(), application.invite_id.encode()):
        raise _invalid(application.site)
    return invite


def _same_again(found: Row[Any], name: str, mac: bytes, tls: VerifyingKey, signing: VerifyingKey) -> None:
    if (found.keyid, found.tls_keyid) != (signing.keyid, tls.keyid):
        _log.warning("somebody came with the used invitation of %s and other keys", name)
        raise Refused(
            "INVITE_USED",
            f"the invitation of {name} was used with another key",
            "ask the pool's operator for a new one",
        )
    if not hmac.compare_digest(found.mac, mac):
        raise _invalid(name)


def check_new(tx: Connection, *keys: VerifyingKey) -> None:
    """One key, one purpose, one site, for ever."""
    for key in keys:
        if registry_rows.key_known(tx, key.keyid):
            raise Refused(
                "KEY_IN_USE", f"the key {key.keyid[:16]} was registered before", "make a key of your own, a fresh one"
            )
    if len({key.keyid for key in keys}) < len(keys):
        raise Refused("KEY_IN_USE", "one key is given for TLS and for signing", "make two keys")


def _invalid(name: str) -> VerificationError:
    return VerificationError(
        "INVITE_INVALID",
        f"this is no valid invitation of a site {name[:64]!r}",
        "ask the pool's operator for a new one",
    )


def move(
    ledger: Ledger,
    notary: Notary,
    name: str,
    state: Literal["ACTIVE", "SUSPENDED", "REVOKED"],
    *,
    fingerprint: str = "",
) -> Site:
    """The operator's word on a site, logged unless the site never enrolled.

    Args:
        ledger: of the pool.
        notary: logs it.
        name: of the site.
        state: the new one.
        fingerprint: what the site read to the operator; empty: it was compared elsewhere.

    Raises:
        NotFound: SITE_UNKNOWN.
        VerificationError: FINGERPRINT_MISMATCH.
        Refused: STATE_TRANSITION.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with ledger.read() as tx:
        _require_movable(tx, name, state, fingerprint)
    with notary.transaction() as tx:
        _require_movable(tx, name, state, fingerprint)
        site_rows.set_site_state(tx, name, state)
        site = known(tx, name)
        record_decision(notary, tx, EVENTS[state], site)
    return site


def _require_movable(tx: Connection, name: str, state: SiteState, fingerprint: str) -> None:
    record = known(tx, name)
    if (record.state, state) not in MOVES:
        raise Refused(
            "STATE_TRANSITION",
            f"the site {name} is {record.state.lower()} and cannot become {state.lower()}",
            "see genepool-server sites",
        )
    if fingerprint:
        enrolment.check_fingerprint(fingerprint, record.fingerprint, name)
