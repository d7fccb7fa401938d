"""Every limit of the protocol, each with its unit; SPEC.md prints this table."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """What a pool accepts. A pool may state smaller ones in GetCapabilities, never larger ones."""

    bundle_bytes: int = 64 << 10  # bytes of model.sig
    manifest_bytes: int = 256 << 10  # bytes of manifest.json
    json_depth: int = 16  # nested objects and arrays
    header_bytes: int = 256 << 10  # bytes of a safetensors header
    tensors: int = 1024  # tensors in a file
    learngene_bytes: int = 64 << 20  # bytes of learngene.safetensors
    seed_bytes: int = 256 << 20  # bytes of seed.safetensors
    chunk_bytes: int = 1 << 20  # bytes of data in one message of a stream
    message_bytes: int = 2 << 20  # bytes of one gRPC message
    site_images: int = 20  # images that a learngene is made from, at least
    key_epsilon_milli: int = 50  # thousandths: the least epsilon that a domain embedding may claim
    key_delta_places: int = 12  # decimal places: an embedding may claim as least delta one in the last of them
    support_images: int = 1024  # images of a support set
    support_classes: int = 256  # classes of a support set
    members: int = 64  # learngenes in one combination
    weight_milli: int = 4000  # thousandths: the largest weight of a learngene, of either sign
    licenses: int = 64  # licences that a request names
    short_list: int = 64  # learngenes that stage A of TALS keeps
    scored: int = 8  # learngenes that stage B of TALS scores
    scored_images: int = 256  # images that stages B to D look at, a fair number of each class
    open_uploads: int = 4  # unfinished uploads of one site
    nonce_seconds: int = 24 * 3600  # seconds that a nonce can be used
    fsync_bytes: int = 8 << 20  # bytes of an upload between two fsyncs
    log_entries: int = 256  # leaves in one GetEntries answer
    page_rows: int = 1024  # rows in one page of an answer
    descendants: int = 100_000  # descendants of a contribution that are listed one by one
    trust_bytes: int = 64 << 10  # bytes of one file of the trust root
    timestamp_seconds: int = 3600  # seconds that the trust root's timestamp lives
    skew_seconds: int = 1800  # seconds that clocks may differ
    csr_bytes: int = 4096  # bytes of a certificate signing request
    overlap_seconds: int = 7 * 24 * 3600  # seconds that a replaced signing key is still accepted
    renew_seconds: int = 3600  # seconds that a replaced TLS key is still accepted


LIMITS: Final = Limits()
