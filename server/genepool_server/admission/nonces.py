"""Nonces: a pool's proof that it said something fresh to one site.

A nonce carries its own expiry and a MAC, so that issuing one stores nothing: a flood of requests fills no disk. That
each is used once is seen by the ledger, which holds the nonces of contributions.
"""

import base64
import hashlib
import hmac
import os
from datetime import datetime
from typing import Final

from genepool_protocol.wire.errors import Refused

_CONTEXT: Final = b"genepool-nonce-v1"
_RANDOM: Final = 10  # bytes
_TIME: Final = 6  # bytes: seconds since 1970
_MAC: Final = 16  # bytes


def issue(key: bytes, site: str, expires: datetime) -> str:
    """A fresh nonce of 32 bytes, in base64url.

    Args:
        key: the pool's secret.
        site: for whom.
        expires: until when, to the second.
    """
    body = int(expires.timestamp()).to_bytes(_TIME, "big") + os.urandom(_RANDOM)
    return _text(body + _mac(key, site, body))


def check(key: bytes, site: str, nonce: str, now: datetime) -> None:
    """Refuse a nonce that this pool did not issue to this site, or that has expired.

    Raises:
        Refused: NONCE_INVALID.
    """
    raw = base64.urlsafe_b64decode(nonce + "=")
    body, mac = raw[: _TIME + _RANDOM], raw[_TIME + _RANDOM :]
    # another text for the same bytes would be a nonce that the ledger does not know
    if _text(raw) != nonce or not hmac.compare_digest(mac, _mac(key, site, body)):
        raise invalid("was not issued to this site")
    if now.timestamp() > int.from_bytes(body[:_TIME], "big"):
        raise invalid("has expired")


def invalid(why: str) -> Refused:
    """The refusal of a nonce."""
    return Refused("NONCE_INVALID", f"the manifest's nonce {why}", "get a fresh one from the pool, then sign again")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(key: bytes, site: str, body: bytes) -> bytes:
    return hmac.digest(key, _CONTEXT + hashlib.sha256(site.encode()).digest() + body, "sha256")[:_MAC]
