"""Strict base64: one text for every byte string, so that nothing signed has two spellings."""

import base64
import binascii

from genepool_protocol.wire.errors import InvalidInput


def b64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def unb64(text: object, what: str) -> bytes:
    """The bytes of canonical base64.

    Raises:
        InvalidInput: BUNDLE_MALFORMED, naming `what`.
    """
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or b64(data) != text:
        raise InvalidInput("BUNDLE_MALFORMED", f"{what} is not canonical base64")
    return data
