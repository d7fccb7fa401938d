"""What a client starts from: the pool's anchors, handed over by the operator, and a site's invitation.

What is pinned is version 1 of the pool's trust root (TUF); every other key follows from it, see `updating`.

Both are JSON files. The anchors are public; an invitation holds a secret and is used once.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.documents import Document, Name, Timestamp, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

_T = TypeVar("_T", bound=Document)


class Anchors(Document):
    """Where a pool is and what it is known by (`pool.json`)."""

    schema_: Literal["genepool.anchors/v2"] = Field(default="genepool.anchors/v2", alias="schema")
    address: str  # HOST:PORT
    ca_pem: str  # who vouches for the pool's TLS certificate until the trust root has said so
    root: Annotated[str, Field(min_length=1, max_length=LIMITS.trust_bytes)]  # version 1 of TUF's root.json

    @property
    def root_sha256(self) -> str:
        """Hex SHA-256 of the pinned root: what names the pool for ever, whichever keys it has by then."""
        return digest.sha256_hex(self.root.encode())


class Invite(Document):
    """What the operator hands to one site, over a channel that both trust."""

    schema_: Literal["genepool.invite/v1"] = Field(default="genepool.invite/v1", alias="schema")
    site: Name
    invite_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]  # 32 bytes, base64url
    expires: Timestamp
    anchors: Anchors


def _read(path: Path, kind: type[_T], what: str) -> _T:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise InvalidInput(
            "PATH_MISSING", f"the {what} {path} cannot be read: {exc.strerror}", "check the path"
        ) from exc
    value = strict_json.loads(strict_json.edited(raw), max_bytes=LIMITS.bundle_bytes, what=f"{what} {path}")
    try:
        document = kind.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput("FILE_MALFORMED", f"{path} is not a valid {what}: {first_problem(exc)}") from exc
    if not all("schema_" in part.model_fields_set for part in (document, getattr(document, "anchors", document))):
        raise InvalidInput("FILE_MALFORMED", f"{path} is not a valid {what}: schema is missing")
    return document


def read_anchors(path: Path) -> Anchors:
    """The anchors in a `pool.json`.

    Raises:
        InvalidInput: PATH_MISSING, JSON_MALFORMED or FILE_MALFORMED.
    """
    return _read(path, Anchors, "anchors file (pool.json)")


def read_invite(path: Path) -> Invite:
    """The invitation in a file.

    Raises:
        InvalidInput: PATH_MISSING, JSON_MALFORMED or FILE_MALFORMED.
    """
    return _read(path, Invite, "invitation")
