"""`genepool simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from genepool_client.commands.options import IntensityOption
from genepool_console import terminal
from genepool_protocol.learngene.size import Size
from genepool_protocol.wire.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(simulate)


def simulate(
    sites: Annotated[int, typer.Option("--sites", min=1, max=1000, help="How many sites play.")] = 6,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Folder of class folders, or of such folders; may be repeated.")
    ] = None,
    partition: Annotated[
        str, typer.Option("--partition", help="by-folder, dirichlet:A or classes:K: how data becomes sites.")
    ] = "by-folder",
    tasks: Annotated[
        list[Path] | None, typer.Option("--tasks", help="Folder of class folders that no site sees; may be repeated.")
    ] = None,
    report: Annotated[Path, typer.Option("--report", help="Folder for report.html.")] = Path("out/simulation"),
    blueprint: Annotated[
        str, typer.Option("--blueprint", help="A bundled blueprint, or a folder with one.")
    ] = "nano-32",
    size: Annotated[
        list[str] | None, typer.Option("--size", help="DEPTH,HEADS of a descendant; may be repeated.")
    ] = None,
    shots: Annotated[int, typer.Option("--shots", min=1, help="Labelled images a class.")] = 5,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Support sets a task.")] = 2,
    finetune: Annotated[int, typer.Option("--finetune", min=0, help="Steps of fine-tuning; 0: none.")] = 20,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Processes that work at the same time.")] = 2,
    steps: Annotated[int, typer.Option("--steps", min=0, help="Steps of a site; 0: by its images.")] = 0,
    rng: Annotated[
        int, typer.Option("--rng", min=0, help="Which dice deal out data and draw support sets and random nets.")
    ] = 0,
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--play",
            help="SITE=ROLE[,MEMBER=VALUE...]: straggler, crash, outage, leak, poison, withdraw or rejoin; SITE is a "
            "name or a place from 0; may be repeated.",
        ),
    ] = None,
    scenario: Annotated[Path | None, typer.Option("--scenario", help="A TOML file with such roles.")] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure the method against every control; resumable. See --quick.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --benchmark: a few minutes instead of about two hours.")
    ] = False,
    intensity: IntensityOption = "",
    processes: Annotated[int, typer.Option("--processes", min=1, help="With --benchmark: how many compute.")] = 2,
    as_json: terminal.JsonOption = False,
) -> None:
    """Play many sites, a pool and a consumer on this machine, and write a report with pictures.

    With --benchmark: no pool server, but every control beside TALS, into bench.json, bench.md and plots. Of the other
    options it takes --data, --report, --blueprint, --steps and --json.
    """
    if benchmark:
        _benchmark(report, data or [], blueprint, processes, steps, quick=quick, as_json=as_json)
        return
    from genepool_client.simulate.scenario import Options, check_report

    check_report(report)  # before seconds of imports
    from genepool_client.simulate.page import summary
    from genepool_client.simulate.roles.script import parse_play, read_script
    from genepool_client.simulate.run import play
    from genepool_client.simulate.watch import Watch

    chosen = Options(
        sites=sites,
        folder=report,
        data=tuple(data or ()),
        rule=partition,
        tasks=tuple(tasks or ()),
        blueprint=blueprint,
        shots=shots,
        draws=draws,
        finetune=finetune,
        parallel=parallel,
        steps=steps,
        intensity=intensity,
        rng=rng,
        roles=(*(read_script(scenario) if scenario else ()), *map(parse_play, roles or ())),
        **({"sizes": tuple(sorted({Size.parse(text) for text in size}))} if size else {}),
    )
    played = play(chosen, Watch(terminal.progress))
    if as_json:
        terminal.answer({"report": str(report / "report.html")}, as_json=True)
        return
    summary.show(played, report)


def _benchmark(
    folder: Path, data: list[Path], blueprint: str, processes: int, steps: int, *, quick: bool, as_json: bool
) -> None:
    from genepool_client.simulate.watch import Watch

    try:
        from genepool_lab.benchmark import run
    except ModuleNotFoundError as exc:
        if exc.name is None or not exc.name.startswith("genepool_lab"):
            raise
        raise InvalidInput(
            "DEPENDENCY_MISSING",
            "the benchmark of the method is in genepool's repository and not in the installed package",
            "clone the repository and run make bench-method there",
        ) from exc

    tables = run.run(folder, data, blueprint, processes, Watch(terminal.progress), small=quick, steps=steps)
    if as_json:
        terminal.answer({"report": str(folder / "bench.json")}, as_json=True)
        return
    run.show(tables, folder)
