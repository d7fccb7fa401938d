"""Every variable of the environment that is genepool's own; none is read under a name that does not stand here.

A name that begins as ours do and is none of them is a slip of the pen, and is refused before anything is done:
otherwise the setting that somebody meant would silently not be in force.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.nearest import suggestion
from genepool_protocol.wire.text import shown

PREFIX: Final = "GENEPOOL_"

Setter = Literal["people", "genepool", "tests"]
"""Who sets a variable: people, a process of ours for its children, or the tests and tools of the repository."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment.

    Attributes:
        name: begins with `PREFIX`.
        meaning: one sentence for the reference.
        setter: who sets it.
        secret: its value is shown to nobody.
    """

    name: str
    meaning: str
    setter: Setter = "people"
    secret: bool = False

    def get(self) -> str:
        """Its value; empty when it is not set."""
        return os.environ.get(self.name, "")


HOME: Final = Variable(
    "GENEPOOL_HOME",
    "Folder of what is remembered: pools, trust roots, tree heads; by default `genepool` in the user's settings.",
)
CACHE: Final = Variable(
    "GENEPOOL_CACHE", "Folder of blueprints and thin slices; by default `genepool` in the user's cache."
)
IDENTITY: Final = Variable("GENEPOOL_IDENTITY", "Folder of a site with the role consumer, as `--identity`.")
PASSPHRASE: Final = Variable(
    "GENEPOOL_PASSPHRASE", "Passphrase of a site's signing key, where nobody can type.", secret=True
)
PASSPHRASE_FILE: Final = Variable(
    "GENEPOOL_PASSPHRASE_FILE",
    "File with that passphrase in its first line, for service managers that hand over secrets as files.",
)
PROXY: Final = Variable(
    "GENEPOOL_PROXY", "HTTP proxy to the pool, `http://HOST:PORT`, before `https_proxy`; set and empty: none."
)
POOL_ANCHORS: Final = Variable(
    "GENEPOOL_POOL_ANCHORS", "The `pool.json` that the ServerApp of a SuperLink of your own asks the pool with."
)
CAMPAIGN_IDENTITY: Final = Variable(
    "GENEPOOL_CAMPAIGN_IDENTITY", "The TLS key of the auditor as whom that ServerApp asks."
)
CAMPAIGN_REPORT: Final = Variable("GENEPOOL_CAMPAIGN_REPORT", "Where that ServerApp writes its report.")

CAMPAIGN_POOL: Final = Variable(
    "GENEPOOL_CAMPAIGN_POOL", "The pool's folder, for the ServerApp of `genepool-server campaign start`.", "genepool"
)
CAMPAIGN: Final = Variable("GENEPOOL_CAMPAIGN", "Id of that campaign.", "genepool")
CAMPAIGN_ATTEMPT: Final = Variable(
    "GENEPOOL_CAMPAIGN_ATTEMPT", "How often Flower was started before for that campaign.", "genepool"
)
SIMULATION_ROOT: Final = Variable("GENEPOOL_SIMULATION_ROOT", "Folder of all sites of a simulation.", "genepool")
LOG_FORM: Final = Variable("GENEPOOL_LOG_FORM", "How the helpers of `site run` write their log.", "genepool")

VARIABLES: Final[dict[str, Variable]] = {
    variable.name: variable
    for variable in (
        *(HOME, CACHE, IDENTITY, PASSPHRASE, PASSPHRASE_FILE, PROXY),
        *(POOL_ANCHORS, CAMPAIGN_IDENTITY, CAMPAIGN_REPORT, CAMPAIGN_POOL, CAMPAIGN),
        *(CAMPAIGN_ATTEMPT, SIMULATION_ROOT, LOG_FORM),
        Variable("GENEPOOL_VECTORS", "Folder of public test vectors, for `tests/conformance`.", "tests"),
        Variable("GENEPOOL_MODEL_SIGNING", "The stock model_signing tool, for `tests/conformance`.", "tests"),
        Variable("GENEPOOL_RELEASE_TOOLS", "Programs that make a release; `make` sets it.", "tests"),
        Variable("GENEPOOL_DINOV2", "File of the published weights, for one test.", "tests"),
        Variable("GENEPOOL_TESTS_POSTGRES", "Database server that a test has started.", "tests"),
        Variable("GENEPOOL_TESTS_S3", "S3 server that a test has started.", "tests"),
        Variable("GENEPOOL_TEST_TIME", "Time that TUF's suite shows to the client under test.", "tests"),
    )
}
"""By name; the reference page has them in this order."""


def check(environment: Mapping[str, str]) -> None:
    """Refuse a variable that looks like ours and is none of them.

    Raises:
        InvalidInput: CONFIG_INVALID, naming it and the nearest one that there is.
    """
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in VARIABLES:
            raise InvalidInput(
                "CONFIG_INVALID",
                f"the environment has {shown(name[:80])}, and genepool reads no such variable"
                + suggestion(name, VARIABLES),
                "correct its name or unset it; Kubernetes makes such names unless enableServiceLinks is false",
            )
