"""Sites: the machine of their states, and how one enrols with an invitation."""

import base64
import hmac
import os
from datetime import datetime
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from genepool_protocol.trust.anchors import enrolment_mac
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.documents import Name
from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused, VerificationError
from genepool_server.pool import site_rows
from genepool_server.pool.ledger import Ledger
from genepool_server.pool.notary import Notary, SiteEventName
from genepool_server.pool.view import Site, SiteState

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

EVENTS: Final[dict[str, SiteEventName]] = {"ACTIVE": "approved", "SUSPENDED": "suspended", "REVOKED": "revoked"}
"""What the log calls the operator's step to a state."""

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
    found = site_rows.site(tx, name)
    if found is None:
        raise NotFound("SITE_UNKNOWN", f"the pool knows no site {name[:64]!r}", "list them with genepool-server sites")
    return found


def invite(ledger: Ledger, name: str, now: datetime) -> tuple[str, str]:
    """A fresh (invite id, secret) for a site that has not enrolled; an earlier one is void.

    Raises:
        InvalidInput: NAME_INVALID.
        Refused: SITE_EXISTS.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    check_name(name)
    invite_id, secret = os.urandom(16).hex(), base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    with ledger.write() as tx:
        found = site_rows.site(tx, name)
        if found is None:
            site_rows.add_site(tx, name, "INVITED")
        elif found.state != "INVITED":
            raise Refused("SITE_EXISTS", f"the site {name} is {found.state.lower()} already", "choose another name")
        site_rows.put_invite(tx, name, invite_id, secret, now.isoformat(timespec="seconds"))
    return invite_id, secret


def enrol(notary: Notary, name: str, invite_id: str, key_pem: str, mac: bytes) -> Site:
    """Register the key of an invited site; the same call again gives the same answer.

    Raises:
        InvalidInput: KEY_MALFORMED.
        VerificationError: INVITE_INVALID.
        Refused: INVITE_USED or KEY_IN_USE.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    key = VerifyingKey.from_pem(key_pem)
    with notary.transaction() as tx:
        found = site_rows.invite(tx, name)
        if found is None or not hmac.compare_digest(found.invite_id.encode(), invite_id.encode()):
            raise _invalid(name)
        if found.secret is None:
            if found.keyid != key.keyid:
                raise Refused(
                    "INVITE_USED",
                    f"the invitation of {name} was used with another key",
                    "ask the pool's operator for a new one",
                )
            if not hmac.compare_digest(found.mac, mac):
                raise _invalid(name)
            return known(tx, name)
        if not hmac.compare_digest(enrolment_mac(found.secret, key), mac):
            raise _invalid(name)
        if known(tx, name).state != "INVITED":
            raise _invalid(name)  # revoked before it enrolled
        if site_rows.key_known(tx, key.keyid):
            raise Refused(
                "KEY_IN_USE", f"another site has registered the key {key.keyid[:16]}", "make a key of your own"
            )
        site_rows.add_key(tx, name, key)
        site_rows.use_invite(tx, invite_id, mac, key.keyid)
        site_rows.set_site_state(tx, name, "PENDING")
        notary.site_event(tx, name, "enrolled", key.keyid)
        return known(tx, name)


def _invalid(name: str) -> VerificationError:
    return VerificationError(
        "INVITE_INVALID",
        f"this is no valid invitation of a site {name[:64]!r}",
        "ask the pool's operator for a new one",
    )


def move(notary: Notary, name: str, state: Literal["ACTIVE", "SUSPENDED", "REVOKED"]) -> Site:
    """The operator's word on a site, logged unless the site never enrolled.

    Raises:
        NotFound: SITE_UNKNOWN.
        Refused: STATE_TRANSITION.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with notary.transaction() as tx:
        found = known(tx, name)
        if (found.state, state) not in MOVES:
            raise Refused(
                "STATE_TRANSITION",
                f"the site {name} is {found.state.lower()} and cannot become {state.lower()}",
                "see genepool-server sites",
            )
        site_rows.set_site_state(tx, name, state)
        if found.keyid:
            notary.site_event(tx, name, EVENTS[state], found.keyid)
        return known(tx, name)
