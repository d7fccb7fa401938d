"""What a site has done, from its folder, and what the pool says of it, when the pool answers."""

from typing import Any

from genepool_client.site import credentials, enrolment, outbox, steps
from genepool_client.site.folder import SiteFolder
from genepool_client.site.outbox import Artefact
from genepool_client.transport.channel import Connection
from genepool_client.transport.upload import state_name
from genepool_protocol.learngene.manifest import parse_manifest
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire import text
from genepool_protocol.wire.errors import GenepoolError

_PATIENCE = 5.0  # seconds; a status that waits longer is no status


def overview(site: SiteFolder) -> dict[str, Any]:
    """Everything that `genepool site status` shows.

    Raises:
        GenepoolError: a file of the site is damaged. A pool that is away is part of the answer, not an error.
    """
    trained, condensed = steps.finished(site)
    artefacts = outbox.artefacts(site)
    states: dict[str, tuple[str, str]] = {}
    try:
        with Connection(site.config.anchors, timeout=_PATIENCE, trust=site.trust) as connection:
            enrolled = enrolment.state(site, connection).state
        if enrolled == "ACTIVE":
            with credentials.connect(site, _PATIENCE) as connection:
                states = {artefact.path.name: _state(connection, artefact) for artefact in artefacts if artefact.signed}
        pool = "answers"
    except GenepoolError as exc:
        enrolled, pool = "unknown", exc.message
    return {
        "site": site.config.name,
        "keyid": site.keys.public.keyid,
        "certificate_ends": _ends(site),
        "pool": site.config.anchors.address,
        "pool_state": pool,
        "state": enrolled,
        "blueprint": site.config.blueprint,
        "data": site.config.data,
        "trained": trained is not None,
        "condensed": condensed is not None,
        "contributions": [_row(artefact, *states.get(artefact.path.name, ("unknown", ""))) for artefact in artefacts],
    }


def _ends(site: SiteFolder) -> str:
    identity = site.keys.tls()
    return f"{identity.ends:%Y-%m-%d %H:%M} UTC" if identity.chain else ""


def _state(connection: Connection, artefact: Artefact) -> tuple[str, str]:
    """State of a contribution and, in words, why."""
    request = pb.GetContributionRequest(contribution_id=artefact.contribution_id)
    try:
        response = connection.call(connection.contribute.GetContribution, request)
    except GenepoolError as exc:
        if exc.reason != "CONTRIBUTION_UNKNOWN":
            raise
        return "NOT SUBMITTED", ""
    return state_name(response.state), text.require(response.note, "the note of the pool")


def _row(artefact: Artefact, state: str, note: str) -> dict[str, Any]:
    if not artefact.signed:
        return {
            "seq": artefact.seq,
            "contribution_id": "",
            "state": "UNFINISHED",
            "note": "",
            "license": "",
            "size_bytes": 0,
        }
    manifest = parse_manifest(artefact.manifest())
    return {
        "seq": artefact.seq,
        "contribution_id": artefact.contribution_id,
        "state": state,
        "note": note,
        "license": manifest.license,
        "size_bytes": manifest.file.size,
        "receipt": artefact.received,
    }
