"""`genepool up`: the pool, the sites' enrolments, a campaign and a node for each site, until all of them have met."""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from genepool_client.deployment import namespaces
from genepool_client.deployment.end import end_all
from genepool_client.deployment.folder import UP, DeploymentFolder, Layout
from genepool_client.deployment.namespaces import Network, NoNamespacesError
from genepool_client.deployment.recorded import MODULE, note
from genepool_client.simulate import partition
from genepool_client.simulate.partition import SiteData
from genepool_client.simulate.watch import Watch
from genepool_client.site import credentials, enrolment
from genepool_client.site.folder import CONFIG_FILE, SiteFolder
from genepool_client.transport.channel import Connection
from genepool_protocol.machine import variables
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_protocol.wire.errors import InvalidInput, Unavailable

_READY: Final = 300.0  # seconds for each of: the pool serves, the campaign runs, its nodes have come
_POLL: Final = 0.5  # seconds
_ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class DeploymentOrder:
    """What is asked for.

    Attributes:
        sites: how many.
        folder: of everything.
        data: folders of class folders; empty: the sample pack.
        deadline: of the campaign, as `campaign start` takes it.
        steps: training steps of a site's ancestry model; 0: by the number of images.
        workers: Ray workers of the pool; None: what a pool has.
        plain: without network namespaces, also where there could be.
    """

    sites: int
    folder: Path
    data: tuple[Path, ...] = ()
    deadline: str = "12h"
    steps: int = 0
    workers: int | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """What runs.

    Attributes:
        folder: of everything.
        address: of the pool, HOST:PORT: all that sites reach.
        metrics: where its numbers for Prometheus are, HOST:PORT.
        campaign: what the campaign's report says.
        sites: their names.
        network: theirs; None: the machine's.
        shared: why they have none of their own.
        processes: number by name.
    """

    folder: DeploymentFolder
    address: str
    metrics: str
    campaign: dict[str, Any]
    sites: tuple[str, ...]
    network: Network | None
    shared: str
    processes: dict[str, int]


def start(order: DeploymentOrder, watch: Watch) -> Deployed:
    """Start it and wait until every site's node has come to the campaign; when that fails, end all of it again.

    Raises:
        Unavailable: FOLDER_IN_USE, it runs; POOL_UNREACHABLE or CAMPAIGN_FAILED, a part of it does not start.
        InvalidInput: PATH_NOT_EMPTY or PATH_MISSING; OPTION_INVALID, too many sites, or other networks than before.
        GenepoolError: as enrolling.
    """
    folder = DeploymentFolder(order.folder)
    folder.make()
    with folder.alone():
        _require_ended(folder)
        note(folder.processes / f"{UP}.json")
        try:
            return _Starting(order, folder, watch).run()
        except BaseException:
            end_all(folder)
            raise
        finally:
            folder.forget(UP)


def _require_ended(folder: DeploymentFolder) -> None:
    alive = [name for name, record in folder.running().items() if record.alive]
    if alive:
        raise Unavailable(
            "FOLDER_IN_USE",
            f"{len(alive)} processes of {folder.path} run: {', '.join(alive[:5])}",
            f"end them with: genepool down {folder.path}",
        )


class _Starting:
    def __init__(self, order: DeploymentOrder, folder: DeploymentFolder, watch: Watch) -> None:
        self._order, self._folder, self._watch = order, folder, watch
        self._network, self._shared = self._laid()
        self._children: dict[str, Child] = {}
        self._env = {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            variables.HOME.name: str(folder.home),
            variables.CACHE.name: str(folder.cache),
            variables.PROXY.name: "",  # all of it is on this machine
        }

    def run(self) -> Deployed:
        os.environ.update(self._env)  # for the enrolments, which are made here
        with self._watch.phase("pool"):
            address, metrics = self._pool()
        sites = self._sites()
        with self._watch.phase("enrolment") as progress:
            for index, site in enumerate(sites):
                self._join(site)
                progress(index + 1, len(sites), site.name)
        with self._watch.phase("campaign") as progress:
            self._campaign([site.name for site in sites])
            for index, site in enumerate(sites):
                self._node(index, site.name)
            self._met(len(sites), progress)
        return Deployed(
            folder=self._folder,
            address=address,
            metrics=metrics,
            campaign=self._report(),
            sites=tuple(site.name for site in sites),
            network=self._network,
            shared=self._shared,
            processes={name: child.pid for name, child in self._children.items()},
        )

    def _laid(self) -> tuple[Network | None, str]:
        """The sites' networks, laid; else why they have none."""
        if self._folder.pool.exists():
            return self._laid_again(self._folder.layout().network)
        if self._order.plain:
            return None, "asked for with --plain"
        try:
            network = namespaces.plan(self._order.sites)
            self._folder.write(Layout(network=network))  # before it is there, so that down takes it away
            namespaces.lay(network)
        except NoNamespacesError as exc:
            self._folder.write(Layout())
            return None, str(exc)
        return network, ""

    def _laid_again(self, before: Network | None) -> tuple[Network | None, str]:
        """As they were before: the pool's address is in its certificate, and sites pin it."""
        if before is None:
            return None, "there were none before"
        if self._order.plain:
            raise InvalidInput(
                "OPTION_INVALID", f"the sites of {self._folder.path} have network namespaces", "leave --plain out"
            )
        network = before.model_copy(update={"sites": max(before.sites, self._order.sites)})
        self._folder.write(Layout(network=network))
        try:
            namespaces.lay(network)
        except NoNamespacesError as exc:
            raise Unavailable(
                "POOL_UNREACHABLE",
                f"the network namespaces of {self._folder.path} cannot be made again: {exc}",
                "run it as the user who ran it first, or choose another DIR",
            ) from exc
        return network, ""

    def _spawn(self, name: str, *command: str, within: Sequence[str] = (), reason: str = "CAMPAIGN_FAILED") -> Child:
        record = str(self._folder.processes / f"{name}.json")
        words = [sys.executable, "-m", MODULE, record, *within, *command]
        log = self._folder.logs / f"{name}.log"
        child = Child(name, words, log, env=self._env, cwd=self._folder.path, reason=reason)
        self._children[name] = child
        return child

    def _server(self, *words: str) -> Any:
        command = [script("genepool-server"), *words, "--json"]
        return json.loads(run_json(command, env=self._env, cwd=self._folder.path, reason="POOL_UNREACHABLE"))

    def _operate(self, verb: str, *words: str) -> Any:
        return self._server(verb, *words, "--dir", str(self._folder.pool))

    def _pool(self) -> tuple[str, str]:
        folder, metrics = self._folder.pool, f"127.0.0.1:{free_port()}"
        if not (folder / "pool.json").exists():
            entrance = f"{self._network.pool if self._network else '127.0.0.1'}:{free_port()}"
            words = ["init", str(folder), "--listen", "127.0.0.1:0", "--name", "pool.local/log"]
            words += ["--entrance", entrance, "--advertise", entrance, "--gate", f"127.0.0.1:{free_port()}"]
            self._server(*words, *_option("--workers", self._order.workers))
        words = ["serve", str(folder), "--metrics", metrics, *_option("--workers", self._order.workers)]
        child = self._spawn("pool", script("genepool-server"), *words, reason="POOL_UNREACHABLE")
        child.wait_for("serving ", _READY)
        return (folder / "address").read_text().strip(), metrics

    def _sites(self) -> tuple[SiteData, ...]:
        shares = self._folder.path / "shares"
        shutil.rmtree(shares, ignore_errors=True)  # links alone
        shutil.rmtree(self._folder.data / "shares", ignore_errors=True)
        if self._order.data:
            return partition.by_folder(list(self._order.data), self._order.sites, shares)
        self._folder.data.mkdir(exist_ok=True)
        return partition.samples(self._folder.data, self._order.sites).sites

    def _join(self, data: SiteData) -> None:
        """What is still to do of the way from an invitation to a certificate."""
        path = self._folder.sites / data.name
        if not (path / CONFIG_FILE).exists():
            invitation = self._folder.path / f"invite-{data.name}.json"
            self._operate("invite", data.name, "--out", str(invitation))
            enrolment.init(path, enrolment.Setup(invitation, data=str(data.folder), steps=self._order.steps))
            invitation.unlink()
        site = SiteFolder(path)
        with Connection(site.config.anchors, trust=site.trust) as connection:
            enrolled = enrolment.enrol(site, connection)
        if enrolled.state == "PENDING":
            self._operate("approve", data.name, "--fingerprint", enrolled.fingerprint)
        credentials.ready(site)

    def _campaign(self, sites: Sequence[str]) -> None:
        words = ["--min-sites", str(len(sites)), "--deadline", self._order.deadline, "--sites", ",".join(sites)]
        words += ["--dir", str(self._folder.pool), "--report", str(self._folder.report)]
        child = self._spawn("campaign", script("genepool-server"), "campaign", "start", *words)
        child.wait_for(" is running at ", _READY)

    def _node(self, index: int, name: str) -> None:
        within = self._network.within(index) if self._network else ()
        path = str(self._folder.sites / name)
        self._spawn(f"site-{name}", script("genepool"), "site", "run", path, "--yes", within=within)

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self._folder.report.read_text())
        return report

    def _met(self, sites: int, progress: Any) -> None:
        """Wait until every node has come to the campaign.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        deadline, come = time.monotonic() + _READY, 0
        while come < sites:
            come = sum(site["progress"] != _ABSENT for site in self._report()["sites"])
            progress(come, sites, "nodes have come")
            for name, child in self._children.items():
                if child.returncode is not None and (child.returncode or come < sites):
                    raise Unavailable("CAMPAIGN_FAILED", f"{name} has ended", f"its log ends:\n{child.tail()}")
            if time.monotonic() > deadline:
                raise Unavailable(
                    "CAMPAIGN_FAILED", f"{come} of {sites} nodes have come", f"see the logs in {self._folder.logs}"
                )
            time.sleep(_POLL)


def _option(name: str, value: int | None) -> list[str]:
    return [] if value is None else [name, str(value)]
