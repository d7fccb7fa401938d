"""Between the states of the ledger and the enums of the wire, and the operator's two messages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar, get_args

from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.records import Contribution, ContributionState, Descended, Site, SiteState

_Word = TypeVar("_Word", bound=str)

_SITE: Final[dict[SiteState, pb.SiteState.ValueType]] = {
    name: pb.SiteState.Value(f"SITE_STATE_{name}") for name in get_args(SiteState)
}
_CONTRIBUTION: Final[dict[ContributionState, pb.ContributionState.ValueType]] = {
    name: pb.ContributionState.Value(f"CONTRIBUTION_STATE_{name}") for name in get_args(ContributionState)
}


def site_state(state: SiteState) -> pb.SiteState.ValueType:
    """The enum's value."""
    return _SITE[state]


def contribution_state(state: ContributionState) -> pb.ContributionState.ValueType:
    """The enum's value."""
    return _CONTRIBUTION[state]


def site_state_of(value: int) -> SiteState:
    """The ledger's word.

    Raises:
        GenepoolError: INTERNAL, the value is none of the enum's.
    """
    return _word(_SITE, value)


def contribution_state_of(value: int) -> ContributionState:
    """The ledger's word.

    Raises:
        GenepoolError: INTERNAL, the value is none of the enum's.
    """
    return _word(_CONTRIBUTION, value)


def _word(table: Mapping[_Word, int], value: int) -> _Word:
    for name, number in table.items():
        if number == value:
            return name
    raise GenepoolError("INTERNAL", f"there is no state {value}", "use the same version of genepool everywhere")


def site_message(site: Site) -> op.Site:
    """A site for the operator."""
    return op.Site(
        name=site.name,
        state=site_state(site.state),
        keyid=site.keyid,
        key_pem=site.key_pem,
        tls_keyid=site.tls_keyid,
        certificate_pem=site.certificate,
        roles=site.roles,
    )


def site_of(message: op.Site) -> Site:
    """The inverse of `site_message`."""
    return Site(
        name=message.name,
        state=site_state_of(message.state),
        keyid=message.keyid,
        key_pem=message.key_pem,
        tls_keyid=message.tls_keyid,
        certificate=message.certificate_pem,
        roles=tuple(message.roles),
    )


def descendant_message(made: Descended) -> pb.Descendant:
    """A descendant for sites and operators."""
    return pb.Descendant(
        sha256=made.sha256,
        blueprint=made.blueprint,
        size=made.size,
        members=made.members,
        count=made.count,
        first=made.first,
        last=made.last,
    )


def descendant_of(message: pb.Descendant) -> Descended:
    """The inverse of `descendant_message`."""
    members = tuple(message.members)
    return Descended(
        message.sha256, message.blueprint, message.size, members, message.count, message.first, message.last
    )


def contribution_message(found: Contribution) -> op.Contribution:
    """A contribution for the operator."""
    return op.Contribution(
        contribution_id=found.contribution_id,
        site=found.site,
        state=contribution_state(found.state),
        license=found.license,
        blueprint_sha256=found.blueprint_sha256,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        images=found.images,
        log_index=found.log_index,
        path=str(found.path),
        manifest=found.manifest,
        receipt=found.receipt,
        site_key_pem=found.site_key_pem,
        note=found.note,
    )


def contribution_of(message: op.Contribution) -> Contribution:
    """The inverse of `contribution_message`."""
    return Contribution(
        contribution_id=message.contribution_id,
        site=message.site,
        state=contribution_state_of(message.state),
        license=message.license,
        blueprint_sha256=message.blueprint_sha256,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        images=message.images,
        log_index=message.log_index,
        path=Path(message.path),
        manifest=message.manifest,
        receipt=message.receipt,
        site_key_pem=message.site_key_pem,
        note=message.note,
    )
