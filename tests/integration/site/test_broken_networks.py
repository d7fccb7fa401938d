"""Uploads that are cut, killed and outlived: what the pool has is not sent again, and the receipt is the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genepool_client.site import credentials, outbox, submission
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import SiteBlueprint
from genepool_protocol.wire.errors import GenepoolError
from tests.integration.site.proxy import Proxy
from tests.integration.site.world import World, condensed, silent

pytestmark = pytest.mark.slow

BIG = {"head_dim": 64, "heads": 10, "mlp_ratio": 4}
"""A learngene of some 20 MB."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def network():
    """Between every client and the port where certificates are asked for."""
    made = Proxy(("127.0.0.1", 0))
    yield made
    made.close()


@pytest.fixture(scope="module")
def big(tmp_path_factory, network):
    made = World(tmp_path_factory.mktemp("big"), **BIG)
    settings = made.pool.folder / "genepool.toml"
    told = f"advertise_certified_port = {network.port}"
    settings.write_text(settings.read_text().replace("advertise_certified_port = 0", told))
    made.start()
    network.target = ("127.0.0.1", made.certified)
    yield made
    made.stop()


@pytest.fixture
def proxy(network, big):
    network.mend()
    return network


def submit(site: SiteFolder, progress=silent) -> submission.Submitted:
    with credentials.connect(site) as connection:
        return submission.submit(SiteBlueprint(site), connection, progress)


def test_a_connection_that_is_cut_goes_on_where_it_was(big, proxy):
    site = big.site("cut")
    condensed(site, 1)
    proxy.cut_after = 12 * MIB
    done = submit(site)
    size = outbox.Artefact(site.outbox / "1").weights.stat().st_size
    assert (done.size_bytes, proxy.cuts) == (size, 1)
    assert proxy.sent < size + 11 * MIB  # what was on its way when it broke is lost, the rest is not sent again


def test_a_client_that_is_killed_in_the_middle_ends_with_the_same_artefact(big, proxy):
    site = big.site("killed")
    condensed(site, 2)
    proxy.stall_after = 10 * MIB
    code = (
        "import sys; from pathlib import Path; from tests.integration.site import test_broken_networks as t; "
        "t.submit(t.SiteFolder(Path(sys.argv[1])))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(site.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )
    assert proxy.stalled.wait(60)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = outbox.Artefact(site.outbox / "1").contribution_id
    first = proxy.sent
    proxy.stall_after = None
    done = submit(site)
    assert done.contribution_id == before
    assert proxy.sent - first < done.size_bytes - MIB
    assert submit(site) == done


def test_a_pool_that_is_killed_and_comes_back_gets_the_rest(big, proxy):
    site = big.site("patient")
    condensed(site, 3)
    events = []

    def restart(done: int, total: int, _note: str) -> None:
        if done > 10 * MIB and not events:
            events.append(done)
            big.kill()
            big.start()

    done = submit(site, restart)
    assert events
    assert outbox.Artefact(site.outbox / "1").received
    assert big.contributions()[done.contribution_id].site == "patient"


def test_a_pool_that_stays_away_is_said_so_and_nothing_is_lost(big, proxy, monkeypatch):
    monkeypatch.setattr("genepool_client.transport.upload._WAIT", 1.0)
    site = big.site("alone")
    condensed(site, 4)

    def vanish(done: int, _total: int, _note: str) -> None:
        if done > 4 * MIB:
            proxy.away = True
            proxy.cut()

    with pytest.raises(GenepoolError) as caught:
        submit(site, vanish)
    assert caught.value.reason in {"POOL_UNREACHABLE", "TOO_SLOW"}
    artefact = outbox.Artefact(site.outbox / "1")
    assert (artefact.signed, artefact.received) == (True, False)
    proxy.away = False
    assert submit(site).contribution_id == artefact.contribution_id
