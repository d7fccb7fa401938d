"""What a pool holds, as values: sites, contributions, blueprints, descendants. Every room of the server knows them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust.enrolment import fingerprint

SiteState = Literal["INVITED", "PENDING", "ACTIVE", "SUSPENDED", "REVOKED"]
ContributionState = Literal["QUARANTINED", "ACTIVE", "REJECTED", "WITHDRAWN"]


@dataclass(frozen=True, slots=True)
class PoolIdentity:
    """What the pool was made with."""

    origin: str
    log_vkey: str
    nonce_key: bytes


@dataclass(frozen=True, slots=True)
class LoadedBlueprint:
    """A blueprint of the pool, and where its seed lies."""

    blueprint: Blueprint
    seed_path: Path


@dataclass(frozen=True, slots=True)
class Site:
    """A site as the ledger knows it.

    Attributes:
        name: as it was invited.
        state: see `pool.pool`.
        keyid: of its signing key; empty until it enrols, like the next three.
        key_pem: its signing key.
        tls_keyid: of its TLS key.
        certificate: the latest one in PEM; empty until it was issued.
        roles: what it was invited as, sorted.
    """

    name: str
    state: SiteState
    keyid: str
    key_pem: str
    tls_keyid: str = ""
    certificate: str = ""
    roles: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """What site and operator compare; empty until it enrols."""
        return fingerprint(self.tls_keyid, self.keyid) if self.keyid and self.tls_keyid else ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """A learngene that the pool has accepted, with the evidence for it.

    Attributes:
        contribution_id: hex SHA-256 of the signed payload.
        site: name of the contributor.
        state: see `pool.pool`.
        license: SPDX, from the manifest.
        blueprint_sha256: hex, of the blueprint it is a learngene of.
        sha256: hex, of learngene.safetensors.
        size_bytes: of learngene.safetensors.
        images: how many images the site says that it trained on.
        log_index: of its leaf.
        path: the blob; never modified in place.
        manifest: manifest.json as it was signed.
        receipt: model.sig with its log entry.
        site_key_pem: the key that signed it.
        note: the operator's or a check's reason for the state.
    """

    contribution_id: str
    site: str
    state: ContributionState
    license: str
    blueprint_sha256: str
    sha256: str
    size_bytes: int
    images: int
    log_index: int
    path: Path
    manifest: bytes
    receipt: bytes
    site_key_pem: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Descended:
    """A descendant that was handed over: to nobody in particular, the pool does not know who asked.

    Attributes:
        sha256: hex, of model.safetensors.
        blueprint: name of the family.
        size: depth and heads.
        members: ids of the contributions that it was made from, sorted.
        count: how often it was handed over; like the days, it says nothing of what it is.
        first: day of the first time, YYYY-MM-DD.
        last: day of the latest time.

    A row without a digest stands for all of that size that were not listed one by one.
    """

    sha256: str
    blueprint: str
    size: str
    members: tuple[str, ...]
    count: int = field(default=1, compare=False)
    first: str = field(default="", compare=False)
    last: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ContributionStanding:
    """The state of a contribution, for whoever holds a descendant of it; `withdrawal` is the receipt of its end."""

    contribution_id: str
    state: ContributionState
    withdrawal: bytes
