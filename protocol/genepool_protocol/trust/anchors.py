"""What a client starts from: the pool's anchors, handed over by the operator, and a site's invitation.

Both are JSON files. The anchors are public; an invitation holds a secret and is used once.
"""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from genepool_protocol.trust import strict_json
from genepool_protocol.trust.keys import LogVerifier, VerifyingKey, WitnessVerifier
from genepool_protocol.trust.witness import MAX_WITNESSES, Policy
from genepool_protocol.wire.documents import Document, Name, Timestamp, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

_T = TypeVar("_T", bound=Document)


class Anchors(Document):
    """The keys that a client pins (`pool.json`)."""

    schema_: Literal["genepool.anchors/v1"] = Field(default="genepool.anchors/v1", alias="schema")
    address: str  # HOST:PORT
    origin: str  # the log's name
    ca_pem: str  # who vouches for the pool's TLS certificate
    log_vkey: str  # C2SP verifier key
    release_key_pem: str  # P-256, signs descendants
    witnesses: list[str] = Field(default_factory=list, max_length=MAX_WITNESSES)  # C2SP verifier keys of type 0x04
    quorum: Annotated[int, Field(ge=0)] = 0  # how many of them must have cosigned a checkpoint; 0: none

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.quorum > len(set(self.witnesses)):
            raise ValueError("the quorum is larger than the number of witnesses")
        return self

    @property
    def policy(self) -> Policy:
        """Whose cosignatures a checkpoint needs.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        return Policy(tuple(WitnessVerifier.parse(one) for one in self.witnesses), self.quorum)

    @property
    def log(self) -> LogVerifier:
        """The log's verifier.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        return LogVerifier.parse(self.log_vkey)

    @property
    def release_key(self) -> VerifyingKey:
        """The key that signs descendants.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        return VerifyingKey.from_pem(self.release_key_pem)


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
    value = strict_json.loads(raw, max_bytes=LIMITS.bundle_bytes, what=what)
    try:
        found = kind.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput("FILE_MALFORMED", f"{path} is not a valid {what}: {first_problem(exc)}") from exc
    if not all("schema_" in part.model_fields_set for part in (found, getattr(found, "anchors", found))):
        raise InvalidInput("FILE_MALFORMED", f"{path} is not a valid {what}: schema is missing")
    return found


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
