"""A site takes contributions back: proof verified, repeatable, also without its outbox, and nobody else's."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genepool_client.site import credentials, outbox, submission, withdrawing
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import SiteBlueprint
from genepool_protocol.trust import envelope, receipt
from genepool_server.commands import operating
from tests.integration.site.world import condensed, silent
from tests.support.refusals import reason_of


@pytest.fixture(scope="module")
def site(world):
    found = world.site("takes-back")
    for number in (1, 2, 3):
        condensed(found, number)
        with credentials.connect(found) as connection:
            submission.submit(SiteBlueprint(found), connection, silent)
    return found


def withdraw(site, identifier, reason=""):
    with credentials.connect_anyhow(site) as connection:
        return withdrawing.withdraw(site, connection, identifier, reason)


def test_a_site_takes_a_contribution_back_and_keeps_the_proof(world, site):
    artefact = outbox.artefacts(site)[0]
    name = artefact.contribution_id
    done = withdraw(site, name[:12], "consent ended")
    assert (done.contribution_id, done.erased, done.descendants) == (name, True, ())
    assert world.contributions()[name].state == "WITHDRAWN"
    bundle = envelope.parse((site.path / "withdrawals" / f"{name}.receipt.sig").read_bytes())
    logged = receipt.verify(bundle, envelope.verify(bundle, site.signing_key().public), world.trusted.log)
    assert logged.index == done.log_index
    assert withdraw(site, name) == done, "the same statement again"
    condensed(site, 4)
    with credentials.connect(site) as connection:
        assert submission.submit(SiteBlueprint(site), connection, silent).seq == 4, "its chain goes on"


def test_a_site_that_lost_its_outbox_withdraws_by_the_whole_id(world, site):
    artefact = outbox.artefacts(site)[1]
    name = artefact.contribution_id
    shutil.rmtree(artefact.path)
    assert reason_of(withdraw, site, name[:12]) == "CONTRIBUTION_UNKNOWN"
    assert withdraw(site, name).erased


def test_a_site_cannot_withdraw_what_another_one_contributed(world, site):
    other = world.site("somebody-else")
    name = outbox.artefacts(site)[-1].contribution_id
    assert reason_of(withdraw, other, name) == "CONTRIBUTION_UNKNOWN"  # whose it is, it is not told
    assert world.contributions()[name].state == "ACTIVE"
    assert reason_of(withdraw, other, "f" * 64) == "CONTRIBUTION_UNKNOWN"


def test_a_suspended_site_keeps_its_right_to_withdraw(world):
    site = world.site("suspended-one")
    condensed(site, 50)
    with credentials.connect(site) as connection:
        name = submission.submit(SiteBlueprint(site), connection, silent).contribution_id
    with operating.operate(world.pool.folder) as operator:
        operator.sites.suspend("suspended-one")
    assert withdraw(site, name).erased


def test_the_command_says_what_was_withdrawn(site):
    name = outbox.artefacts(SiteFolder(site.path))[-1].contribution_id
    arguments = ["site", "withdraw", site.path, name[:16], "--reason", "moved", "--json"]
    command = [str(Path(sys.executable).parent / "genepool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(done.stdout)
    assert (said["contribution_id"], said["erased"], said["descendants"]) == (name, True, [])
