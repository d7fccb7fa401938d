"""The whole story on one machine: sites join and contribute, a consumer asks, everything is measured and verified."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import genepool_protocol
from genepool_client.pictures.images import ImageSet, load_images
from genepool_client.simulate import consumer_run, report, site_run
from genepool_client.simulate.consumer_run import EpisodeAnswer
from genepool_client.simulate.experiment import StartAccuracy
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.simulate.scenario import Options, cast, prepare
from genepool_client.simulate.watch import Clock, Watch
from genepool_protocol.learngene.blueprint import blueprint_folder, parse_blueprint
from genepool_protocol.trust.anchors import read_anchors

PICTURED: Final = 12
"""Sites whose images the report shows."""


def play(options: Options, watch: Watch) -> report.SimulationReport:
    """Play it, write the report into `options.folder` and return it; everything that was started is ended in any case.

    Raises:
        InvalidInput: wrong data, options or folder.
        Unavailable: SIMULATION_FAILED.
    """
    clock = Clock(watch)
    raw = (blueprint_folder(options.blueprint) / "blueprint.json").read_bytes()
    blueprint = parse_blueprint(raw)
    for size in options.sizes:
        blueprint.check(size)
    work = prepare(options.folder)
    with clock.phase("images"):
        scenario = cast(options, work / "data")
        tasks = {path.name: load_images(path, blueprint.image, intensity=options.intensity) for path in scenario.tasks}
    with contextlib.ExitStack() as undo:
        pool = PoolProcess(work / "pool", work, options.blueprint)
        undo.callback(pool.stop)
        with clock.phase("pool server"):
            pool.start()
        folders = site_run.join(clock, pool, scenario.sites, work, options.steps, options.intensity)
        site_run.contribute(clock, pool, folders, work, options.parallel)
        kept_out = site_run.settled(clock, pool, len(folders))
        entries = {entry["contribution_id"]: entry["site"] for entry in pool.operate("contributions")}
        anchors = read_anchors(pool.folder / "pool.json")
        with consumer_run.Consumer(anchors, work, entries) as consumer:
            episodes = consumer_run.draw_episodes(tasks, options.shots, options.draws)
            answers = consumer.ask(clock, episodes)
            descendants = consumer.descend(clock, answers, options.sizes)
            rows = consumer.measure(clock, options, episodes, answers, descendants, site_run.learngenes(folders))
            with clock.phase("verification"):
                verified = consumer.prove(descendants)
        with clock.phase("report"):
            sites = [site_run.site_report(folder, kept_out) for folder in folders]
            outcome = _report(options, blueprint.name, clock, sites, tasks, answers, rows, verified)
            pictured = [
                load_images(site.folder, blueprint.image, intensity=options.intensity)
                for site in scenario.sites[:PICTURED]
            ]
            report.write(outcome, options.folder, pictured, list(tasks.values()))
    return outcome


def _report(
    options: Options,
    blueprint: str,
    clock: Clock,
    sites: list[report.SiteReport],
    tasks: dict[str, ImageSet],
    answers: Sequence[EpisodeAnswer],
    rows: list[StartAccuracy],
    verified: report.VerificationReport,
) -> report.SimulationReport:
    return report.SimulationReport(
        software=genepool_protocol.__version__,
        blueprint=blueprint,
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        shots=options.shots,
        draws=options.draws,
        finetune_steps=options.finetune,
        sites=sites,
        tasks=list(tasks),
        selections=[selected.report for selected in answers],
        modes_agree=all(selected.agrees for selected in answers),
        rows=rows,
        verification=verified,
        seconds=clock.seconds,
    )
