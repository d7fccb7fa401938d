"""What the trust root vouches for: the target `trusted.json`, which names a pool's keys and its witnesses.

`Signers` is the part that a pool keeps beside its ledger, too. Both are canonical JSON, written in one way.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from genepool_protocol.trust import strict_json
from genepool_protocol.trust.keys import LogVerifier, VerifyingKey, WitnessVerifier
from genepool_protocol.trust.terms import KeySpan, LogKeys, LogSpan, StatementKeys
from genepool_protocol.trust.witness import MAX_WITNESSES, WitnessPolicy
from genepool_protocol.wire.documents import Document, first_problem
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

Role = Literal["release", "operator"]
"""Whose key for statements: the pool's own, or the operator's."""

Count = Annotated[int, Field(ge=0, lt=1 << 49)]
_MANY = 64
"""Keys of one role over a pool's life."""


class LogTerm(Document):
    """A log key in a document; see `terms.LogSpan`."""

    vkey: str  # C2SP verifier key
    first: Count
    last: Count | None

    def span(self) -> LogSpan:
        """The key itself."""
        return LogSpan(LogVerifier.parse(self.vkey), self.first, self.last)


class KeyTerm(Document):
    """A key for statements in a document; see `terms.KeySpan`."""

    pem: str  # P-256
    first: Count
    end: Count | None
    compromised: bool

    def span(self) -> KeySpan:
        """The key itself."""
        key = VerifyingKey.from_pem(self.pem)
        if key.pem != self.pem:
            raise InvalidInput("KEY_MALFORMED", "a key is not in its canonical PEM form")
        return KeySpan(key, self.first, self.end, self.compromised)


class Written(Document):
    """A document with one spelling."""

    @classmethod
    def parse(cls, raw: bytes, what: str) -> Self:
        """The document in canonical JSON.

        Raises:
            InvalidInput: JSON_MALFORMED or FILE_MALFORMED.
        """
        value = strict_json.loads_canonical(raw, max_bytes=LIMITS.trust_bytes, what=what)
        try:
            trusted = cls.model_validate(value)
        except ValidationError as exc:
            raise InvalidInput("FILE_MALFORMED", f"{what} is not valid: {first_problem(exc)}") from exc
        if trusted.encode() != raw:
            raise InvalidInput("FILE_MALFORMED", f"{what} leaves out a member")
        return trusted

    def encode(self) -> bytes:
        """RFC 8785 bytes."""
        return strict_json.canonical(self.model_dump(by_alias=True))


class Signers(Written):
    """Every key that a pool signs with or has signed with."""

    schema_: Literal["genepool.signers/v1"] = Field(default="genepool.signers/v1", alias="schema")
    logs: Annotated[list[LogTerm], Field(min_length=1, max_length=_MANY)]
    releases: Annotated[list[KeyTerm], Field(min_length=1, max_length=_MANY)]
    operators: Annotated[list[KeyTerm], Field(min_length=1, max_length=_MANY)]

    @model_validator(mode="after")
    def _consecutive(self) -> Self:
        try:
            logs, roles = self.log, (self.release, self.operator)
        except GenepoolError as exc:
            raise ValueError(exc.message) from exc
        ends = [(key_span.first, key_span.last) for key_span in logs.spans]
        rows = [ends, *([(key_span.first, key_span.end) for key_span in role.spans] for role in roles)]
        for row in rows:
            if row[0][0] != 0 or row[-1][1] is not None or any(end != first for (_, end), (first, _) in pairwise(row)):
                raise ValueError("its keys do not follow one another")
        ids = [key_span.key.vkey for key_span in logs.spans] + [
            key_span.key.keyid for role in roles for key_span in role.spans
        ]
        if len({key_span.key.name for key_span in logs.spans}) != 1 or len(set(ids)) != len(ids):
            raise ValueError("a key stands there twice, or under another name")
        return self

    @classmethod
    def begin(cls, log: LogVerifier, release: VerifyingKey, operator: VerifyingKey) -> Self:
        """The signers of a new pool."""
        return cls(
            logs=[LogTerm(vkey=log.vkey, first=0, last=None)],
            releases=[_term(release, 0)],
            operators=[_term(operator, 0)],
        )

    @property
    def log(self) -> LogKeys:
        """Who signs heads.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        return LogKeys(tuple(key.span() for key in self.logs))

    @property
    def release(self) -> StatementKeys:
        """Who signs descendants and what the pool does by itself."""
        return StatementKeys(tuple(key.span() for key in self.releases))

    @property
    def operator(self) -> StatementKeys:
        """Who signs what the operator decides."""
        return StatementKeys(tuple(key.span() for key in self.operators))

    def with_log(self, key: LogVerifier, size: int) -> Self:
        """The same with another log key from a size on."""
        *before, last = self.logs
        ended = last.model_copy(update={"last": size})
        return self._changed(logs=[*before, ended, LogTerm(vkey=key.vkey, first=size, last=None)])

    def with_key(self, role: Role, key: VerifyingKey, size: int, *, compromised: bool) -> Self:
        """The same with another key of a role, which signs from the leaf with that index on."""
        *before, last = getattr(self, f"{role}s")
        ended = last.model_copy(update={"end": size, "compromised": compromised})
        return self._changed(**{f"{role}s": [*before, ended, _term(key, size)]})

    def _changed(self, **lists: list[Any]) -> Self:
        values = {name: getattr(self, name) for name in ("logs", "releases", "operators")} | lists
        return type(self)(**values)


def _term(key: VerifyingKey, first: int) -> KeyTerm:
    return KeyTerm(pem=key.pem, first=first, end=None, compromised=False)


class Trusted(Written):
    """What a client may believe of a pool, once the trust root was verified."""

    schema_: Literal["genepool.trusted/v1"] = Field(default="genepool.trusted/v1", alias="schema")
    ca_pem: str  # who vouches for the pool's TLS certificate
    signers: Signers
    witnesses: Annotated[list[str], Field(max_length=MAX_WITNESSES)]  # C2SP verifier keys of type 0x04
    quorum: Annotated[int, Field(ge=0)]  # how many of them must have cosigned a checkpoint; 0: none

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.quorum > len(set(self.witnesses)):
            raise ValueError("the quorum is larger than the number of witnesses")
        return self

    @property
    def origin(self) -> str:
        """The pool's name, which is its log's."""
        return self.log.name

    @property
    def log(self) -> LogKeys:
        """Who signs heads."""
        return self.signers.log

    @property
    def release(self) -> StatementKeys:
        """Who signs descendants."""
        return self.signers.release

    @property
    def operator(self) -> StatementKeys:
        """Who signs what the operator decides."""
        return self.signers.operator

    @property
    def policy(self) -> WitnessPolicy:
        """Whose cosignatures a checkpoint needs.

        Raises:
            InvalidInput: KEY_MALFORMED.
        """
        return WitnessPolicy(tuple(WitnessVerifier.parse(witness) for witness in self.witnesses), self.quorum)
