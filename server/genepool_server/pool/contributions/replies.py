"""What the pool answers to a contributing site."""

from dataclasses import dataclass

from genepool_server.records import ContributionState


@dataclass(frozen=True, slots=True)
class Nonce:
    """What a site needs for its next manifest.

    Attributes:
        nonce: base64url, for one contribution of this site.
        expires: RFC 3339 in UTC, to the second.
        last_seq: of the site's last contribution, 0 before the first.
        last_payload_sha256: of the site's last contribution, 64 zeros before the first.
        checkpoint: the log's signed note, empty while the log is.
    """

    nonce: str
    expires: str
    last_seq: int
    last_payload_sha256: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload whose statement passed its checks; `committed_size` bytes of it are durable already.

    `already_logged`: the very same statement was accepted before, so nothing needs to be sent.
    """

    upload_id: str
    committed_size: int
    already_logged: bool


@dataclass(frozen=True, slots=True)
class Committed:
    """A contribution that the log holds, with its receipt.

    Attributes:
        receipt: model.sig with the log entry.
        contribution_id: hex SHA-256 of the signed payload.
        state: what it is now.
        sha256: hex, of learngene.safetensors.
        size_bytes: of learngene.safetensors.
    """

    receipt: bytes
    contribution_id: str
    state: ContributionState
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class WithdrawalReply:
    """A contribution that is withdrawn.

    Attributes:
        contribution_id: whose.
        receipt: the withdrawal's bundle with its log entry.
        erased: whether its weights are gone from the store.
        descendants: how many rows `DescendantRecords.of` has of what was made from it and handed over before; that
            cannot be recalled, only answered as withdrawn.
    """

    contribution_id: str
    receipt: bytes
    erased: bool
    descendants: int
