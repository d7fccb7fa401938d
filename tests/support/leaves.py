"""What a leaf of the log shows to whoever reads it as JSON."""

import base64
import json


def payload_sha256(leaf: bytes) -> str:
    """Hex digest of the signed payload that a leaf names (SPEC.md, section 6)."""
    return base64.b64decode(json.loads(leaf)["spec"]["dsseV002"]["payloadHash"]["digest"]).hex()
