"""One process of a site with a role: python -m genepool_client.simulate.roles.actor FOLDER ACT TERMS.

Whoever started it reads what it tells, an object a line on standard output: {"stage": S} when a stage begins,
{"ended": ...} at the end, {"error": REASON, "message": ...} when something was refused.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from genepool_client.simulate.roles import attempts
from genepool_client.site import contribution, credentials, outbox, withdrawing
from genepool_client.site.contribution import STAGES
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Settings
from genepool_protocol.machine.launching import be_quiet
from genepool_protocol.progress import Progress, silent
from genepool_protocol.wire.errors import GenepoolError

GO: Final = "go-on"
"""A file in the site's folder: the process that waits for it goes on."""
_WAIT: Final = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Disturbance:
    """How an act is disturbed.

    Attributes:
        die: the stage, a key of `STAGES`, in which the process is killed; empty: in none.
        hold: the stage at whose beginning it waits for `GO`; empty: at none.
        slower: how many times as long every stage takes.
    """

    die: str = ""
    hold: str = ""
    slower: float = 1.0


class Stages:
    """What `contribution.contribute` tells of its stages, with the disturbances of an act.

    Args:
        site: its folder.
        disturbance: of the act.
    """

    def __init__(self, site: Path, disturbance: Disturbance) -> None:
        self._site, self._disturbance = site, disturbance

    @contextlib.contextmanager
    def __call__(self, label: str) -> Iterator[Progress]:
        """One stage."""
        stage = next(name for name, text in STAGES.items() if text == label)
        _tell({"stage": stage})
        if stage == self._disturbance.hold:
            while not (self._site / GO).exists():
                time.sleep(_WAIT)
        dies = stage == self._disturbance.die
        before = time.process_time()  # its own: that others compute as well makes nobody slower

        def progress(done: int, total: int, _note: str) -> None:
            nonlocal before
            # in the middle: a stage that is merely begun has no work to lose
            if dies and 2 * done >= total:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._disturbance.slower > 1:
                time.sleep((self._disturbance.slower - 1) * (time.process_time() - before))
                before = time.process_time()

        yield progress
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        progress(0, 1, "")  # what was done after the last word


def contribute(site: SiteFolder, disturbance: Disturbance) -> dict[str, object]:
    """What `genepool site contribute` does."""
    with site.locked():
        submitted = contribution.contribute(site, Settings(), Stages(site.path, disturbance)).submitted
    return asdict(submitted)


def withdraw(site: SiteFolder, _disturbance: Disturbance) -> dict[str, object]:
    """What `genepool site withdraw` does, with the newest contribution."""
    newest = outbox.artefacts(site)[-1].contribution_id
    with site.locked(), credentials.connect(site) as connection:
        return asdict(withdrawing.withdraw(site, connection, newest, "a role in a simulation"))


def leak(site: SiteFolder, _disturbance: Disturbance) -> dict[str, object]:
    """Try to let images out by both doors: through Flower, and as a tensor of the learngene."""
    return asdict(attempts.leak(site, silent))


def poison(site: SiteFolder, _disturbance: Disturbance) -> dict[str, object]:
    """Contribute random numbers with the norm of the seed, under this site's good name."""
    return asdict(attempts.poison(site, silent))


ACTS: Final[dict[str, Callable[[SiteFolder, Disturbance], dict[str, object]]]] = {
    "contribute": contribute,
    "withdraw": withdraw,
    "leak": leak,
    "poison": poison,
}


def main() -> int:
    """See the module."""
    be_quiet()
    folder, act, disturbance = sys.argv[1:]
    try:
        ended = ACTS[act](SiteFolder(Path(folder)), Disturbance(**json.loads(disturbance)))
    except GenepoolError as exc:
        _tell({"error": exc.reason, "message": exc.message})
        return exc.exit_code
    _tell({"ended": ended})
    return 0


def _tell(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
