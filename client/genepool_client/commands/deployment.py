"""`genepool up` and `genepool down`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from genepool_console import terminal

if TYPE_CHECKING:
    from genepool_client.deployment.start import Deployed

_FOLDER: Final = Path("genepool-up")

FolderArgument = Annotated[Path, typer.Argument(metavar="[DIR]", help="Everything lies in it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (up, down):
        app.command()(command)


def up(
    folder: FolderArgument = _FOLDER,
    *,
    sites: Annotated[int, typer.Option("--sites", min=1, max=250, help="How many sites.")] = 4,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Folder of class folders, or of such folders; may be repeated. Else the samples."),
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", help="Until when the campaign invites: 90s, 30m, 12h, or a time.")
    ] = "12h",
    steps: Annotated[int, typer.Option("--steps", min=0, help="Steps of a site; 0: by its images.")] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Ray workers of the pool; 0: threads of the server.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="No network namespaces, also where each site could have one.")
    ] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Start the real thing on this machine: a pool with one port, a campaign, and a node for each site, as processes.

    Returns when every node has come to the campaign; all of it goes on until `genepool down`. Where the system allows
    it (root, Linux), each site has a network of its own, from which it reaches the pool and nothing else.
    """
    from genepool_client.deployment.start import DeploymentOrder, start
    from genepool_client.simulate.watch import Watch

    order = DeploymentOrder(sites, folder, tuple(data or ()), deadline, steps, workers, plain)
    deployed = start(order, Watch(terminal.progress))
    terminal.answer(_value(deployed), as_json=as_json, text=_lines(deployed))


def down(folder: FolderArgument = _FOLDER, *, as_json: terminal.JsonOption = False) -> None:
    """End what `genepool up` has started, whatever has become of it; its files stay."""
    from genepool_client.deployment.end import end

    ended = end(folder)
    text = f"ended {len(ended)} processes: {', '.join(ended)}" if ended else "nothing ran"
    terminal.answer({"ended": ended}, as_json=as_json, text=f"{text}; the files stay in {folder}")


def _value(deployed: "Deployed") -> dict[str, Any]:
    network = deployed.network
    return {
        "folder": str(deployed.folder.path),
        "pool": deployed.address,
        "metrics": deployed.metrics,
        "campaign": deployed.campaign["id"],
        "processes": deployed.processes,
        "namespaces": [network.name(site) for site in range(len(deployed.sites))] if network else [],
        "shared_network": deployed.shared,
    }


def _lines(deployed: "Deployed") -> list[str]:
    folder, campaign, network = deployed.folder, deployed.campaign, deployed.network
    where = (
        f"each in a network namespace of its own: {network.name(0)} and on; ip netns exec {network.name(0)} ..."
        if network
        else f"in this machine's network: {deployed.shared}"
    )
    site = folder.sites / deployed.sites[0]
    return [
        f"pool at {deployed.address}, everything through that one port; its folder is {folder.pool}",
        f"{len(deployed.sites)} sites in {folder.sites}: {', '.join(deployed.sites)}",
        f"the sites' nodes run {where}",
        f"campaign {campaign['id']} invites them until {campaign['deadline']}",
        "look at it:",
        f"  genepool-server campaign show {campaign['id']} --dir {folder.pool}",
        f"  genepool-server contributions --dir {folder.pool}",
        f"  genepool site status {site}",
        f"  tail -F {folder.logs}/*.log",
        f"  curl http://{deployed.metrics}/metrics",
        f"use it: genepool select --pool {folder.pool / 'pool.json'} --support PATH",
        f"end it: genepool down {folder.path}",
    ]
