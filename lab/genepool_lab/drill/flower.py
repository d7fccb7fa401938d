"""Flower's own FedAvg over the drill's sites: a SuperLink, and a SuperNode for each site, as real processes."""

import json
import os
from pathlib import Path
from typing import Any, Final

from genepool_client.simulate.fleet import Fleet
from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.roles.network import Network
from genepool_lab.drill import watching
from genepool_lab.drill.cast import DEADLINE, LIMIT, OUTAGE, SITES, Drilled
from genepool_lab.drill.flower_app import ORDER
from genepool_protocol.machine.processes import Child, free_port, script

Settings = tuple[str, dict[str, Any]]
"""In a sentence, and as the ServerApp gets them."""

DEFAULT: Final[Settings] = ("defaults: all nodes, 3,600 s a round", {"strategy": {}, "start": {}})


def tolerant(allow: float) -> Settings:
    """What Flower has for sites that fail; `accept_failures` of its older strategies is what it always does now."""
    said = f"min_train_nodes=4, min_available_nodes=4, {allow * DEADLINE:.0f} s a round"
    return said, {"strategy": {"min_train_nodes": 4, "min_available_nodes": 4}, "start": {"timeout": allow * DEADLINE}}


def drill(folder: Path, scenario: Scenario, settings: Settings, allow: float) -> Drilled:
    """One run.

    Args:
        folder: a new one.
        scenario: who holds which images.
        settings: of the strategy.
        allow: how many times as long everything may take on a busy machine.
    """
    said, order = settings
    watching.prepare(folder, scenario)
    (folder / ORDER).write_text(json.dumps(order))
    fleet = Fleet(folder / "flower", folder, {}, simulated=False)
    reached: dict[int, str] = {}
    nodes = watching.Nodes(lambda site: _supernode(folder, site, reached[site]))
    network: list[Network] = []

    def ready(superlink: str) -> None:
        network.append(Network(superlink))
        watch.network = network[0]
        for site in range(SITES):
            reached[site] = network[0].address if site == OUTAGE else superlink
            nodes.start(site)

    watch = watching.FaultWatch(folder, nodes, allow * LIMIT)

    def play() -> None:
        fleet.run(Path(__file__).parent / "flower_bundle", SITES, 0, {}, watch.look, ready)

    try:
        return watching.run(folder, watch, play, "Flower FedAvg", said)
    finally:
        nodes.stop()
        fleet.stop()
        for relay in network:
            relay.close()


def _supernode(folder: Path, site: int, superlink: str) -> Child:
    home = folder / f"node-{site}"
    home.mkdir(exist_ok=True)
    command = [script("flower-supernode"), "--insecure", "--superlink", superlink]
    command += ["--host", "127.0.0.1", "--port", str(free_port())]
    command += ["--node-config", f'site={site} root="{folder}"']
    path = f"{Path(script('flwr')).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    log = folder / f"node-{site}.log"
    return Child(f"the SuperNode of site {site}", command, log, env={"FLWR_HOME": str(home), "PATH": path}, cwd=home)
