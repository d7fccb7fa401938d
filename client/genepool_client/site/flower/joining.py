"""Entering the pool's campaign: the site's folder is all that is needed, the pool says the rest, a person says yes."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import Field, ValidationError

from genepool_client.site import credentials
from genepool_client.site.flower.supernode import Link
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.causes import PASSING
from genepool_client.transport.channel import Connection, check_address
from genepool_client.transport.durable import write_atomic, write_json
from genepool_protocol.private_files import private_folder
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.enrolment import make_csr
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.documents import Document, Printable, Sha256, Timestamp, first_problem, moment
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Refused, Unavailable
from genepool_protocol.wire.limits import LIMITS

LAST: Final = "campaign.json"
"""In the site's folder: the offer that was taken last."""

_PATIENCE: Final = 60.0  # seconds for the registration
_GONE: Final = frozenset({"CAMPAIGN_UNKNOWN", "SITE_NOT_ACTIVE", "ROLE_MISSING", "SITE_UNKNOWN"})
"""Reasons for which the pool invites the site to no campaign."""

_POLL: Final = 1.0  # seconds


class CampaignOffer(Document):
    """What the pool says of the campaign that it invites a site to; kept as campaign.json.

    Attributes:
        id: of the campaign.
        address: HOST:PORT of its gate.
        bundle: digest of the app bundle.
        ends: until when it invites.
    """

    schema_: Literal["genepool.campaign-offer/v1"] = Field(default="genepool.campaign-offer/v1", alias="schema")
    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    address: Printable = Field(max_length=300)
    bundle: Sha256
    ends: Timestamp

    def lines(self) -> list[str]:
        """The same for a person."""
        return [
            f"campaign {self.id} at {self.address} invites this site until {self.ends}",
            f"its app bundle is {self.bundle}",
            "the operator reads you the same digest: genepool-server campaign app",
        ]


def join(site: SiteFolder, agree: Callable[[CampaignOffer], bool], port: int) -> Link:
    """Enter the pool's campaign with the site's node; answers how to reach it.

    Args:
        site: enrolled, and approved.
        agree: asked once for each app bundle, which is accepted from then on.
        port: for the node's own helpers.

    Raises:
        NotFound: CAMPAIGN_UNKNOWN, none invites the site now.
        Refused: ROLE_MISSING, the site is no contributor; STATE_TRANSITION, nobody agreed.
        Unavailable: CAMPAIGN_FAILED, the campaign does not take the node in.
        GenepoolError: as `credentials.connect` and `Connection.call`.
    """
    key, path = site.keys.node()
    certificates = private_folder(site.path / "flower") / "pool-ca.pem"
    try:
        with credentials.connect(site) as connection:
            offer, ready = _until(lambda: _ask(connection, key), lambda offer, _: bool(offer.address))
            _accept(site, offer, agree)
            if not ready:
                offer, _ = _until(lambda: _ask(connection, key), lambda _, ready: ready)
            write_atomic(certificates, connection.trusted.ca_pem.encode())
    except Unavailable as exc:
        # the pool may be away for a moment while its campaign goes on
        offer = _last(site, exc)
    check_address(offer.address)
    write_json(site.path / LAST, offer.model_dump(by_alias=True))
    return Link(offer.address, certificates, path, port, lambda: is_over(site, offer))


def is_over(site: SiteFolder, offer: CampaignOffer) -> bool:
    """Whether the pool does not invite the site to that campaign any more; one that was interrupted goes on.

    Args:
        site: whose node it is.
        offer: of the campaign that it entered.
    """
    try:
        with credentials.connect(site) as connection:
            return _ask(connection, site.keys.node()[0])[0].id != offer.id
    except GenepoolError as exc:
        return exc.reason in _GONE or moment(offer.ends) < datetime.now(UTC)


def _ask(connection: Connection, key: SigningKey) -> tuple[CampaignOffer, bool]:
    request = pb.JoinCampaignRequest(node_csr=make_csr(key))
    response = connection.call(connection.contribute.JoinCampaign, request)
    values = {
        "id": response.campaign_id,
        "bundle": response.bundle_sha256,
        "ends": response.ends,
        "address": response.address,
    }
    try:
        offer = CampaignOffer.model_validate(values)
    except ValidationError as exc:
        raise InvalidInput(
            "FIELD_MALFORMED", f"the pool offers no campaign: {first_problem(exc)}", "tell its operator"
        ) from exc
    return offer, response.ready


def _accept(site: SiteFolder, offer: CampaignOffer, agree: Callable[[CampaignOffer], bool]) -> None:
    if offer.bundle in site.config.fabs:
        return
    if not agree(offer):
        raise Refused(
            "STATE_TRANSITION",
            f"the app bundle {offer.bundle} was not accepted",
            "without a campaign: genepool site contribute DIR",
        )
    site.change(fabs=[*site.config.fabs, offer.bundle])


def _until(
    ask: Callable[[], tuple[CampaignOffer, bool]], enough: Callable[[CampaignOffer, bool], bool]
) -> tuple[CampaignOffer, bool]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        offer, ready = ask()
        if enough(offer, ready):
            return offer, ready
        time.sleep(_POLL)
    raise Unavailable(
        "CAMPAIGN_FAILED", "the campaign does not take this site's node in", "ask the operator what campaign show says"
    )


def _last(site: SiteFolder, exc: GenepoolError) -> CampaignOffer:
    """The campaign that the site entered last, if it still goes on."""
    path = site.path / LAST
    if exc.reason not in PASSING or not path.exists():
        raise exc
    raw = strict_json.loads(path.read_bytes(), max_bytes=LIMITS.bundle_bytes, what=str(path))
    try:
        offer = CampaignOffer.model_validate(raw)
    except ValidationError:
        raise exc from None
    if not offer.address or moment(offer.ends) < datetime.now(UTC) or offer.bundle not in site.config.fabs:
        raise exc
    return offer
