"""The whole way of a site: images, ancestry model, learngene, signature, receipt; what is done is not repeated."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from genepool_client.site import credentials, steps, submission
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Materials, Settings, SiteBlueprint
from genepool_client.site.steps import Condensed, Trained
from genepool_client.site.submission import Submitted
from genepool_protocol.progress import Progress

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Opens the display of one stage, by its name."""

STAGES: Final = {
    "ask": "asking the pool",
    "read": "reading images",
    "train": "training the ancestry model",
    "condense": "condensing",
    "submit": "submitting",
}
"""The names of all stages, in their order, by a word for each."""


@dataclass(frozen=True, slots=True)
class Contributed:
    """What each step did.

    Attributes:
        trained: the ancestry model.
        condensed: the learngene.
        submitted: the contribution.
        notes: what whoever gave the images must know of how they were read; sentences.
    """

    trained: Trained
    condensed: Condensed
    submitted: Submitted
    notes: tuple[str, ...]


def contribute(site: SiteFolder, settings: Settings, stage: Stage, *, offline: bool = False) -> Contributed:
    """Train, condense, sign and submit; killed at any moment, the next call goes on from there.

    Args:
        site: the site's folder.
        settings: how the steps run.
        stage: makes the progress of each.
        offline: whether to train without asking the pool first whether the site may contribute.

    Raises:
        GenepoolError: as the steps.
    """
    site.signing_key()  # whoever has to type its passphrase does it now, not in an hour
    if not offline:
        with stage(STAGES["ask"]), credentials.connect(site) as connection:
            submission.check_leave(site, connection)
    source = SiteBlueprint(site)
    with stage(STAGES["read"]) as progress:
        materials = Materials.read(source, settings, progress)
    with stage(STAGES["train"]) as progress:
        trained = steps.train(materials, progress)
    with stage(STAGES["condense"]) as progress:
        condensed = steps.condense_learngene(materials, progress)
    with stage(STAGES["submit"]) as progress, credentials.connect(site) as connection:
        connection.capabilities()
        submitted = submission.submit(source, connection, progress)
    return Contributed(trained, condensed, submitted, materials.images.notes)
