"""Every error that genepool raises, and the one table that puts it on the wire.

    GenepoolError
    ├── InvalidInput        what was given is wrong: mend it
    ├── VerificationError   a signature, digest or proof does not hold: do not use the thing
    ├── Refused             it is well-formed, but this state or identity does not allow it
    ├── NotFound            the named thing does not exist
    ├── Unavailable         try again later, or elsewhere
    ├── VersionMismatch     the two ends speak different versions
    └── StorageError        the disk or the ledger failed, or contradicts itself

Each error carries a stable `reason` (a key of `REASONS`), a sentence that names the input and the rule, and how to
mend it. Library code raises; only the command line prints and exits.
"""

from dataclasses import dataclass
from typing import Final

REQUEST: Final = "request"
"""Member of an error's metadata: the id under which the pool's log speaks of the call that was refused."""


class GenepoolError(Exception):
    """The root: catch this at the edge of a program.

    Args:
        reason: a key of `REASONS`.
        message: one sentence that names the input and the rule it breaks.
        fix: what to do about it.
        metadata: small facts for machines, sent as ErrorInfo.metadata.
    """

    exit_code: int = 1

    def __init__(self, reason: str, message: str, fix: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fix = fix
        self.metadata = metadata

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.reason, self.message, self.fix, self.metadata)

    @property
    def request(self) -> str:
        """Id of the call that the pool refused; empty where no pool did."""
        return self.metadata.get(REQUEST, "")

    def diagnostics(self) -> str:
        """The sentence for a person: what is wrong, how to mend it, and under which id the pool's operator finds it."""
        sentence = f"{self.message}; {self.fix}" if self.fix else self.message
        return f"{sentence} (request {self.request})" if self.request else sentence


def _rebuild(kind: type[GenepoolError], reason: str, message: str, fix: str, metadata: dict[str, str]) -> GenepoolError:
    return kind(reason, message, fix, **metadata)


class InvalidInput(GenepoolError):  # noqa: N818 - the name says whose fault it is
    """What was given is wrong."""

    exit_code = 2


class NotFound(GenepoolError):  # noqa: N818 - the name says whose fault it is
    """The named thing does not exist."""

    exit_code = 3


class VerificationError(GenepoolError):
    """A signature, digest or proof does not hold."""

    exit_code = 4


class Unavailable(GenepoolError):  # noqa: N818 - the name says whose fault it is
    """The other end cannot answer now."""

    exit_code = 5


class Refused(GenepoolError):  # noqa: N818 - the name says whose fault it is
    """Well-formed, but not allowed in this state or for this identity."""

    exit_code = 6


class StorageError(GenepoolError):
    """The disk or the ledger failed, or contradicts itself."""

    exit_code = 7


class VersionMismatch(GenepoolError):  # noqa: N818 - the name says whose fault it is
    """The two ends speak different versions."""

    exit_code = 8


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the error table: the class that is raised, and the gRPC status code's name."""

    kind: type[GenepoolError]
    code: str


def _rows(kind: type[GenepoolError], code: str, *reasons: str) -> dict[str, Reason]:
    return {reason: Reason(kind, code) for reason in reasons}


REASONS: Final[dict[str, Reason]] = {
    # what a person gave us
    **_rows(InvalidInput, "INVALID_ARGUMENT", "PATH_MISSING", "PATH_NOT_EMPTY", "FOLDER_EMPTY", "CLASS_EMPTY"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "PATH_UNREADABLE", "FOLDER_AMBIGUOUS"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "ONE_CLASS_ONLY", "IMAGE_UNREADABLE", "DATASET_UNKNOWN", "NAME_INVALID"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "INTENSITY_UNKNOWN"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "OPTION_INVALID", "CONFIG_INVALID", "FILE_MALFORMED", "STEP_MISSING"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "SIZE_OUTSIDE_BLUEPRINT", "BUDGET_TOO_SMALL", "DEADLINE_REQUIRED"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "SUPPORT_MALFORMED", "SUPPORT_TOO_LARGE", "SUPPORT_TOO_SMALL"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "WEIGHTS_MALFORMED", "DEPENDENCY_MISSING", "PASSPHRASE_INVALID"),
    # formats
    **_rows(InvalidInput, "INVALID_ARGUMENT", "JSON_MALFORMED", "BUNDLE_MALFORMED", "STATEMENT_MALFORMED"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "MANIFEST_MALFORMED", "BLUEPRINT_MALFORMED", "KEY_MALFORMED"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "SAFETENSORS_MALFORMED", "ARCH_MISMATCH", "NON_FINITE", "NORM_BOUND"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "PRIVACY_CLAIM", "IMAGES_TOO_FEW", "EMBEDDING_SPREAD"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "DIGEST_MISMATCH", "CHUNK_TOO_LARGE", "MESSAGE_TOO_LARGE"),
    **_rows(InvalidInput, "INVALID_ARGUMENT", "CHECK_LIMIT", "FIELD_MALFORMED"),
    # trust
    **_rows(VerificationError, "PERMISSION_DENIED", "SIGNATURE_INVALID", "KEY_UNKNOWN", "INVITE_INVALID"),
    **_rows(VerificationError, "PERMISSION_DENIED", "KEY_EXPOSED", "FINGERPRINT_MISMATCH", "PATH_FOREIGN"),
    **_rows(VerificationError, "DATA_LOSS", "PROOF_INVALID", "CHECKPOINT_INVALID", "LOG_FORK", "FOLDER_TAMPERED"),
    **_rows(VerificationError, "DATA_LOSS", "LINEAGE_INVALID", "SELECTION_DIFFERS", "REBUILD_DIFFERS"),
    **_rows(VerificationError, "DATA_LOSS", "LOG_INVALID", "WITNESSES_MISSING"),
    **_rows(VerificationError, "DATA_LOSS", "TRUST_INVALID", "TRUST_ROLLBACK", "TRUST_EXPIRED", "CLOCK_WRONG"),
    # state and identity
    **_rows(Refused, "UNAUTHENTICATED", "CERT_REQUIRED", "CERT_UNKNOWN", "CERT_EXPIRED", "CERT_REJECTED"),
    **_rows(Refused, "PERMISSION_DENIED", "SITE_NOT_ACTIVE", "KEY_REVOKED", "CERT_MISMATCH", "ROLE_MISSING"),
    **_rows(Refused, "PERMISSION_DENIED", "INVITE_EXPIRED"),
    **_rows(Refused, "ALREADY_EXISTS", "INVITE_USED", "KEY_IN_USE", "SITE_EXISTS", "SEQ_CONFLICT", "DUPLICATE_WEIGHTS"),
    **_rows(Refused, "FAILED_PRECONDITION", "AUDIENCE_MISMATCH", "SITE_MISMATCH", "MANIFEST_EXPIRED", "NONCE_INVALID"),
    **_rows(Refused, "FAILED_PRECONDITION", "SEQ_GAP", "PREV_MISMATCH", "UPLOAD_INCOMPLETE", "SEED_MISMATCH"),
    **_rows(
        Refused, "FAILED_PRECONDITION", "POOL_EMPTY", "CONTRIBUTION_NOT_ACTIVE", "STATE_TRANSITION", "DATA_CHANGED"
    ),
    **_rows(Refused, "FAILED_PRECONDITION", "LINEAGE_WITHDRAWN", "PRIVACY_SHRINKS", "DASHBOARD_OFF"),
    **_rows(Refused, "OUT_OF_RANGE", "OFFSET", "LOG_RANGE"),
    **_rows(Refused, "ABORTED", "UPLOAD_SUPERSEDED"),
    # things that are not there
    **_rows(NotFound, "NOT_FOUND", "SITE_UNKNOWN", "CONTRIBUTION_UNKNOWN", "UPLOAD_UNKNOWN", "BLUEPRINT_UNKNOWN"),
    **_rows(NotFound, "NOT_FOUND", "POOL_UNKNOWN", "FILE_MISSING", "CAMPAIGN_UNKNOWN"),
    # the world
    **_rows(
        Unavailable, "UNAVAILABLE", "POOL_UNREACHABLE", "POOL_UNTRUSTED", "SERVING_UNAVAILABLE", "SIMULATION_FAILED"
    ),
    **_rows(Unavailable, "UNAVAILABLE", "HOST_UNKNOWN", "PROXY_UNREACHABLE", "PROXY_REFUSED", "TLS_INTERCEPTED"),
    **_rows(Unavailable, "UNAVAILABLE", "CERT_OTHER_HOST", "CERT_TOO_EARLY", "CERT_TOO_LATE"),
    **_rows(Unavailable, "RESOURCE_EXHAUSTED", "BUSY", "SPOOL_FULL", "TOO_MANY_UPLOADS"),
    **_rows(Unavailable, "RESOURCE_EXHAUSTED", "RATE_EXCEEDED", "QUOTA_EXCEEDED"),
    **_rows(Unavailable, "DEADLINE_EXCEEDED", "TOO_SLOW"),
    **_rows(Unavailable, "UNAVAILABLE", "PORT_IN_USE", "FOLDER_IN_USE", "STORE_UNAVAILABLE", "QUORUM_MISSED"),
    **_rows(Unavailable, "UNAVAILABLE", "CAMPAIGN_FAILED"),
    **_rows(StorageError, "UNAVAILABLE", "DISK_FULL", "DISK_FAILED"),
    **_rows(StorageError, "INTERNAL", "LEDGER_INCONSISTENT", "BLOB_CORRUPT", "LEDGER_VERSION"),
    **_rows(VersionMismatch, "FAILED_PRECONDITION", "API_VERSION"),
    **_rows(GenepoolError, "INTERNAL", "INTERNAL"),
}


def error(reason: str, message: str, fix: str = "", **metadata: str) -> GenepoolError:
    """The error of the class that the table gives `reason`; a plain root error for one that only a newer peer knows."""
    row = REASONS.get(reason)
    return (row.kind if row else GenepoolError)(reason, message, fix, **metadata)
