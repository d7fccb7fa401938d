"""The site's last word on what Flower may carry away: judged in the SuperNode, where no app's code runs.

Pure decisions over Flower's objects; `supernode` puts them in the way of every reply and every app bundle.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Final

from flwr.app import ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_type_from_object_content, iterate_object_tree

from genepool_client.site import outbox
from genepool_client.site.flower import guard
from genepool_client.site.folder import SiteFolder

_MAX_OBJECT: Final = 4096  # bytes of a message, its dictionary or its record
_PATIENCE: Final = 60.0  # seconds for an object that the app has announced
_POLL: Final = 0.1  # seconds
_KINDS: Final = ["ConfigRecord", "Message", "RecordDict"]


class Egress:
    """Decides for one site.

    Args:
        site: whose config lists the app bundles, and whose outbox knows what may be spoken of.
    """

    def __init__(self, site: SiteFolder) -> None:
        self._site = site

    def accepts(self, bundle: bytes) -> bool:
        """Whether an app bundle is one that the site's config names by digest."""
        return f"sha256:{hashlib.sha256(bundle).hexdigest()}" in self._site.config.fabs

    def refusal(self, get: Callable[[str], bytes | None], tree: object) -> str | None:
        """Why a reply may not leave, or None; for the site's log.

        Args:
            get: content of an object by its id; empty while it is still to come, None when it never will.
            tree: Flower's tree of the reply's objects.
        """
        records: dict[str, bytes] = {}
        for node in iterate_object_tree(tree):  # type: ignore[arg-type]
            content = _await(get, node.object_id)
            if content is None:
                return "an object of it is missing"
            kind = get_object_type_from_object_content(content)
            if kind not in _KINDS or kind in records:
                return f"it holds an object of kind {kind} ({len(content)} bytes) that no receipt has"
            if len(content) > _MAX_OBJECT:
                return f"its {kind} has {len(content)} bytes"
            records[kind] = content
        if sorted(records) != _KINDS:
            return f"it consists of {', '.join(records)}"
        return self._record_refusal(records)

    def _record_refusal(self, found: dict[str, bytes]) -> str | None:
        record = ConfigRecord.inflate(found["ConfigRecord"])
        content = RecordDict.inflate(found["RecordDict"], {record.object_id: record})
        why = guard.violation(content)
        if why is not None:
            return why
        for artefact in outbox.artefacts(self._site):
            if artefact.received and artefact.contribution_id == record["contribution-id"]:
                return None
        return "it speaks of a contribution that the outbox has no receipt for"


def _await(get: Callable[[str], bytes | None], object_id: str) -> bytes | None:
    deadline = time.monotonic() + _PATIENCE
    while (content := get(object_id)) == b"":
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL)
    return content
