"""Every procedure of deploy/runbook.md does what its heading says, when its commands are typed in the page's order."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from genepool_client.site import enrolment
from genepool_client.site.folder import SiteFolder
from genepool_client.transport import channel
from genepool_client.transport.channel import Connection
from genepool_protocol.machine.processes import free_port
from genepool_protocol.trust.anchors import Invite, read_anchors
from genepool_protocol.wire.errors import GenepoolError
from genepool_server import app, config
from genepool_server.commands import operating
from tests.docs.runbook import Line, Player, player, procedures
from tests.integration.site.world import condensed, submit
from tests.support.genes import write_seed
from tests.support.images import write_classes

pytestmark = pytest.mark.slow

PROCEDURES = procedures()
MOVED = "localhost"


class Runbook:
    """A pool with one port, and what was seen of it on the way."""

    def __init__(self, player: Player) -> None:
        self.player, self.pool, self.clinic = player, player.folder / "pool", player.folder / "clinic"
        self.contribution = ""
        self.printed: list = []

    def follow(self, heading: str) -> None:
        self.printed = [self.player.play(line, self.contribution) for line in PROCEDURES[heading]]

    def contributions(self) -> dict[str, str]:
        with operating.operate(self.pool) as operator:
            return {row.contribution_id: row.state for row in operator.contributions.all()}

    def states(self) -> dict[str, str]:
        with operating.operate(self.pool) as operator:
            return {site.name: site.state for site in operator.sites.all()}

    def works(self) -> None:
        """The site is known, and the pool takes what it sends: another learngene of the same images."""
        words = ["genepool", "site", "contribute", "clinic", "--fresh", "--steps", str(2 + len(self.contributions()))]
        contributed = self.player.play(Line(words, ""), "")
        assert self.contributions()[contributed["contribution_id"]] == "ACTIVE"


@pytest.fixture(scope="module")
def runbook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runbook")
    write_seed(folder / "tiny", np.random.default_rng(0))
    write_classes(folder / "images", {"a": 12, "b": 12}, np.random.default_rng(1))
    address = f"127.0.0.1:{free_port()}"
    values = {"listen": "127.0.0.1:0", "advertise": address, "screening": "off", "drain_seconds": 1.0}
    values |= {"entrance": {"listen": address}, "serving": {"workers": 0}}
    app.init(folder / "pool", config.parse(values, "the test"), [str(folder / "tiny")])
    with pytest.MonkeyPatch.context() as patch, player(folder, {"pool2.example": MOVED}) as playing:
        patch.setenv("GENEPOOL_HOME", str(folder / "home"))
        patch.setenv("GENEPOOL_CACHE", str(folder / "cache"))
        yield Runbook(playing)


def plant_contributes(book: Runbook) -> None:
    with operating.operate(book.pool) as operator:
        given = operator.sites.invite("plant", datetime.now(UTC))
        invite = Invite(
            site="plant",
            invite_id=given.invite_id,
            secret=given.secret,
            expires=given.expires,
            anchors=read_anchors(book.pool / "pool.json"),
        )
        path = book.player.folder / "invite-plant.json"
        path.write_text(json.dumps(invite.model_dump(by_alias=True)))
        site = enrolment.init(book.player.folder / "plant", enrolment.Setup(invite=path, steps=2))
        with Connection(site.config.anchors, trust=site.trust) as connection:
            enrolment.enrol(site, connection)
        operator.sites.approve("plant")
    condensed(site, 7)
    book.contribution = submit(site).contribution_id


def a_timer_backs_up(book: Runbook) -> None:
    backup = next(line for line in PROCEDURES["Back up"] if "backup" in line.words)
    words = [word.replace("backup-1", "backup-3") for word in backup.words]
    book.player.play(backup._replace(words=words), "")


def newest_of_clinic(book: Runbook) -> None:
    book.works()
    book.contribution = list(book.contributions())[-1]


BEFORE = {
    "Suspend and revoke": plant_contributes,
    "Lose a node": a_timer_backs_up,
    "Incident": newest_of_clinic,
}


def begun(book: Runbook) -> None:
    assert not (book.pool / "offline").exists()
    assert (book.player.folder / "backup-0-keys").is_dir()


def enrolled(book: Runbook) -> None:
    assert book.states() == {"clinic": "ACTIVE"}
    assert list(book.contributions().values()) == ["ACTIVE"]
    fingerprint = book.printed[2]["fingerprint"]
    assert [row["fingerprint"] for row in book.printed[3]] == [fingerprint]


def rotated(book: Runbook) -> None:
    shown = next(value for value in book.printed if value and "trusted" in value)["trusted"]
    assert len(shown["signers"]["logs"]) == 2
    book.works()


def revoked(book: Runbook) -> None:
    assert book.states()["plant"] == "REVOKED"
    assert book.contributions()[book.contribution] == "WITHDRAWN"


def backed_up(book: Runbook) -> None:
    assert book.printed[0]["problems"] == []
    assert book.printed[1]["contributions"] == len(book.contributions()) - 1  # one is withdrawn


def restored(book: Runbook) -> None:
    assert book.contributions()[book.contribution] == "WITHDRAWN"
    assert (book.player.folder / "pool-lost").is_dir()
    book.works()


def upgraded(book: Runbook, monkeypatch: pytest.MonkeyPatch) -> None:
    book.works()
    for version in ("0.9", "1.1", "2.0"):
        monkeypatch.setattr(channel, "API_VERSION", version)
        with Connection(SiteFolder(book.clinic).config.anchors) as other, pytest.raises(GenepoolError) as caught:
            other.capabilities()
        assert caught.value.reason == "API_VERSION"
    monkeypatch.undo()
    book.works()


def moved(book: Runbook) -> None:
    assert SiteFolder(book.clinic).config.anchors.address.partition(":")[0] == MOVED
    book.works()


def served_again(book: Runbook) -> None:
    assert book.printed[-1]["serving"] is True


def key_is_back(book: Runbook) -> None:
    assert book.states()["clinic"] == "ACTIVE"
    book.works()


def withdrawn(book: Runbook) -> None:
    assert book.contributions()[book.contribution] == "WITHDRAWN"
    assert (book.player.folder / "evidence-log" / "checkpoint").is_file()
    assert book.printed[-1]["problems"] == []
    book.works()


AFTER = {
    "Before the first site": begun,
    "Enrol a site": enrolled,
    "Rotate keys": rotated,
    "Suspend and revoke": revoked,
    "Back up": backed_up,
    "Restore": restored,
    "Upgrade": upgraded,
    "Drain": served_again,
    "Lose a node": moved,
    "Lose a key": key_is_back,
    "Incident": withdrawn,
}


def test_every_procedure_of_the_page_is_played():
    assert list(AFTER) == list(PROCEDURES)


@pytest.mark.parametrize("heading", AFTER)
def test_a_procedure_does_what_it_says(heading, runbook, monkeypatch):
    if heading in BEFORE:
        BEFORE[heading](runbook)
    runbook.follow(heading)
    check = AFTER[heading]
    check(runbook, monkeypatch) if check is upgraded else check(runbook)


def test_what_the_page_must_not_say_is_refused(tmp_path):
    with player(tmp_path, {}) as playing, pytest.raises(KeyError):
        playing.play(procedures()["Drain"][0]._replace(words=["rm", "-r", "pool"]), "")
    assert Path(tmp_path).is_dir()
