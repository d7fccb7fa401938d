"""The versions and names that are signed or sent; SPEC.md prints this list."""

from typing import Final

API_VERSION: Final = "1.0"
"""What this software speaks, and the only version it accepts."""

ERROR_DOMAIN: Final = "genepool"
"""google.rpc.ErrorInfo.domain of every refusal."""

MANIFEST_SCHEMA: Final = "genepool.manifest/v1"
BLUEPRINT_SCHEMA: Final = "genepool.blueprint/v1"
DESCENDANT_PREDICATE: Final = "https://genepool/descendant/v1"
"""buildType of a descendant's SLSA provenance."""

SITE_EVENT_PREDICATE: Final = "https://genepool/site-event/v1"
DECISION_PREDICATE: Final = "https://slsa.dev/verification_summary/v1"
WITHDRAWAL_PREDICATE: Final = "https://genepool/withdrawal/v1"
ERASURE_PREDICATE: Final = "https://genepool/erasure/v1"

ENROL_CONTEXT: Final = b"genepool-enrol-v2"
"""First bytes of what an enrolling site authenticates with the invite's secret."""

FINGERPRINT_CONTEXT: Final = b"genepool-fingerprint-v1"
"""First bytes of what a site's fingerprint is the hash of."""

ROTATION_PREDICATE: Final = "https://genepool/key-rotation/v1"
"""predicateType of the statement by which a site replaces its signing key."""
