"""The site's seat in a Flower campaign: an invitation comes in, a receipt goes out, the learngene takes our own gRPC.

Named by the app bundle as `genepool_client.site.flower.client_app:app`; the bundle itself carries no code.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from genepool_protocol.machine import variables
from genepool_protocol.machine.launching import be_quiet

be_quiet()

import torch  # noqa: E402 - the switches come first
from flwr.app import ConfigRecord, Context, Message, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from genepool_client.site import contribution  # noqa: E402
from genepool_client.site.code_identity import code_identity  # noqa: E402
from genepool_client.site.flower import guard, logs  # noqa: E402
from genepool_client.site.folder import SiteFolder  # noqa: E402
from genepool_client.site.materials import Settings  # noqa: E402
from genepool_client.transport.tally import CALLS_FILE, TALLY  # noqa: E402
from genepool_protocol.progress import Progress  # noqa: E402
from genepool_protocol.wire.errors import InvalidInput  # noqa: E402

SIMULATION_ROOT: Final = variables.SIMULATION_ROOT.name

app = ClientApp(mods=[guard.receipt_only_mod])


@app.query("contribute")
def contribute(message: Message, context: Context) -> Message:
    """Train, condense, sign and submit; answers where the contribution is, and no more."""
    torch.set_num_threads(1)
    logs.begin_as_told()
    site = SiteFolder(site_folder(context))
    with site.locked():
        try:
            submitted = contribution.contribute(site, Settings(device="auto"), _silent).submitted
        finally:
            TALLY.move_to(site.path / CALLS_FILE)
    receipt = ConfigRecord(
        {
            "contribution-id": submitted.contribution_id,
            "sha256": submitted.sha256,
            "size-bytes": submitted.size_bytes,
            "status": submitted.state,
            "code": code_identity(),
        }
    )
    return Message(RecordDict({guard.RECORD: receipt}), reply_to=message)


def site_folder(context: Context) -> Path:
    """Which site this node is: `--node-config 'site-dir="..."'`, or the simulated one of this partition.

    Raises:
        InvalidInput: CONFIG_INVALID, the node says neither.
    """
    root = os.environ.get(SIMULATION_ROOT)
    if root:
        return Path(root) / f"site-{int(context.node_config['partition-id']):03d}"
    folder = context.node_config.get("site-dir")
    if not isinstance(folder, str) or not folder:
        raise InvalidInput(
            "CONFIG_INVALID", "this SuperNode does not say which site it is", "start it with genepool site run DIR"
        )
    return Path(folder)


@contextlib.contextmanager
def _silent(_label: str) -> Iterator[Progress]:
    yield lambda _done, _total, _note: None
