"""Who may call what: the one table of roles, for the pool that enforces it and for the clients that obey it.

A method that is not in the table may be called by nobody.
"""

from types import MappingProxyType
from typing import Final, Literal, get_args

from genepool_protocol.wire.errors import Refused

Role = Literal["contributor", "consumer", "auditor", "witness", "operator"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

NETWORK_ROLES: Final[tuple[Role, ...]] = ROLES[:-1]
"""What a site can be invited as. An operator needs no certificate: the socket in a private folder is the proof."""

DEFAULT_ROLES: Final[tuple[Role, ...]] = ("contributor", "consumer")
"""What a site is invited as unless the operator says otherwise."""

ANYBODY: Final[frozenset[Role]] = frozenset()
"""Also callers without a certificate."""

_ANY_SITE: Final = frozenset(NETWORK_ROLES)


def _rows(service: str, roles: frozenset[Role], *methods: str) -> dict[str, frozenset[Role]]:
    return {f"/genepool.v1.{service}/{method}": roles for method in methods}


ACCESS: Final = MappingProxyType(
    {
        **_rows("PoolService", ANYBODY, "GetCapabilities", "GetBlueprint"),
        **_rows("LogService", ANYBODY, "GetCheckpoint", "GetEntries", "GetConsistency", "GetTile"),
        **_rows("TrustService", ANYBODY, "GetFile"),
        # a cosignature and a withdrawal are signed by who means them: whoever brings them proves nothing by himself
        **_rows("LogService", ANYBODY, "AddCosignature"),
        **_rows("ContributeService", ANYBODY, "Withdraw", "GetDescendants"),
        **_rows("EnrolmentService", ANYBODY, "Enrol", "GetEnrolment"),
        **_rows("EnrolmentService", _ANY_SITE, "Renew"),
        **_rows("EnrolmentService", frozenset({"contributor"}), "RotateSigningKey"),
        **_rows("ContributeService", frozenset({"contributor"}), "BeginNonce", "Begin", "Write", "QueryWriteStatus"),
        **_rows("ContributeService", frozenset({"contributor"}), "Commit", "JoinCampaign"),
        **_rows("ContributeService", frozenset({"contributor", "auditor"}), "GetContribution"),
        **_rows("SelectService", frozenset({"consumer"}), "ListKeys", "GetThin", "Select"),
        **_rows("DescendService", frozenset({"consumer"}), "Descend"),
        **_rows("DescendService", ANYBODY, "CheckStatus"),
        **_rows("OperatorService", frozenset({"operator"}), "Invite", "ListSites", "ChangeSite"),
        **_rows("OperatorService", frozenset({"operator"}), "ListContributions", "DecideContribution"),
        **_rows("OperatorService", frozenset({"operator"}), "WithdrawContribution", "ListDescendants", "Seal"),
        **_rows("OperatorService", frozenset({"operator"}), "Backup", "OpenDashboard"),
    }
)
"""Full method name -> roles, one of which the caller must have."""


def authorise(method: str, roles: frozenset[str], *, certified: bool) -> None:
    """Refuse a call to one of our methods that these roles do not allow.

    Args:
        method: full name.
        roles: of the caller.
        certified: whether the caller showed a certificate.

    Raises:
        Refused: CERT_REQUIRED or ROLE_MISSING.
    """
    allowed = ACCESS.get(method)
    # without a certificate one is a consumer, or this machine's operator: no method for sites of any role is for them
    if allowed is not None and (allowed == ANYBODY or (allowed & roles if certified else allowed <= roles)):
        return
    name = method.rpartition(".")[2]
    if allowed is None:
        raise Refused("ROLE_MISSING", f"nobody may call {name[:100]!r}", "update genepool")
    if not certified:
        raise Refused(
            "CERT_REQUIRED",
            f"{name} is for sites with a certificate of this pool",
            "enrol with an invitation of its operator, and show the certificate (consumers: --identity DIR)",
        )
    raise Refused(
        "ROLE_MISSING",
        f"{name} is for the role {' or '.join(sorted(allowed))}",
        "ask the pool's operator for an invitation with that role",
    )
