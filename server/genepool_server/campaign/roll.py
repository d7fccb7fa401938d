"""Whose nodes belong to a campaign: those of active contributors that it invites, and nobody else's at any moment."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.wire.errors import Unavailable
from genepool_server.campaign.control import Control
from genepool_server.pool.sites.campaigns import CampaignRecord, SiteRecord
from genepool_server.records import Site

_log = logging.getLogger(__name__)

_NOT_ENTERED: Final = "its node has not come: the site runs genepool site run DIR"
_NOT_CONNECTED: Final = "its node has entered and is not connected"


class Roll:
    """The sites of a campaign, and the nodes that are registered for them.

    Args:
        sites: asks the pool for its sites.
        entered: the key of each site's node that the pool's server has taken.
    """

    def __init__(self, sites: Callable[[], Iterable[Site]], entered: Callable[[], Mapping[str, VerifyingKey]]) -> None:
        self._sites, self._entered = sites, entered
        self._known: dict[str, Site] = {}
        self._registered: dict[str, tuple[int, VerifyingKey]] = {}
        self._refused: dict[str, VerifyingKey] = {}

    @property
    def nodes(self) -> dict[str, str]:
        """The keyid of the node that is registered for a site."""
        return {site: key.keyid for site, (_, key) in self._registered.items()}

    def ask(self) -> None:
        """Ask the pool who its sites are now; while it does not answer, they are who they were."""
        try:
            self._known = {site.name: site for site in self._sites()}
        except Unavailable as exc:
            _log.warning("the pool does not say who its sites are: %s", exc.diagnostics())

    def adopt(self, control: Control) -> None:
        """Take over the nodes that a SuperLink which was started anew knows from before.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        self._registered, self._refused = control.nodes(), {}

    def register(self, record: CampaignRecord, control: Control) -> None:
        """Register the nodes that belong to the campaign, and take back those that no longer do.

        A key that Flower refuses is noted; it ends no campaign.

        Raises:
            Unavailable: CAMPAIGN_FAILED, a node cannot be taken back.
        """
        entered = self._entered()
        due = {site: entered[site] for site in self._members(record) if site in entered}
        for site, (node, key) in list(self._registered.items()):
            if due.get(site) != key:
                control.unregister(node)
                del self._registered[site]
        for site, key in due.items():
            if site not in self._registered and self._refused.get(site) != key:
                self._enter(site, key, control)

    def _enter(self, site: str, key: VerifyingKey, control: Control) -> None:
        try:
            self._registered[site] = (control.register(site, key), key)
            self._refused.pop(site, None)
        except Unavailable as exc:
            _log.warning("the node of %s was not registered: %s", site, exc.message)
            self._refused[site] = key

    def lines(self, record: CampaignRecord, told: Sequence[SiteRecord]) -> list[SiteRecord]:
        """What became of each site of the campaign, by name.

        Args:
            record: the campaign's.
            told: what the ServerApp knows; a contribution that the record has is not forgotten for it.
        """
        before = {site.site: site for site in record.sites}
        accepted = {site.site: site for site in (*told, *record.sites) if site.progress == "accepted"}
        known = {site.site: site for site in told} | accepted
        names = sorted({*self._members(record), *record.chosen, *accepted})
        return [known[name] if name in known else self._absent(name, before.get(name)) for name in names]

    def _members(self, record: CampaignRecord) -> list[str]:
        return [name for name, site in self._known.items() if is_member(site) and record.invites(name)]

    def _absent(self, name: str, before: SiteRecord | None) -> SiteRecord:
        return SiteRecord(site=name, reason=self._absence(name), invitations=before.invitations if before else 0)

    def _absence(self, name: str) -> str:
        site = self._known.get(name)
        if site is None:
            return "the pool knows no such site"
        if not is_member(site):
            return f"the site is {site.state}" if site.state != "ACTIVE" else "the site is no contributor"
        if name in self._refused:
            return "Flower does not take its node's key: the site removes keys/node.key in its folder, and runs again"
        return _NOT_CONNECTED if name in self._registered else _NOT_ENTERED


def is_member(site: Site) -> bool:
    """Whether a site may contribute now."""
    return site.state == "ACTIVE" and "contributor" in site.roles
