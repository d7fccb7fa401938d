"""The whole story on one machine: sites join and contribute, a consumer asks, everything is measured and verified."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import genepool_protocol
from genepool_client.pictures.images import ImageSet, load_images
from genepool_client.simulate import consumer_run, site_run
from genepool_client.simulate.consumer_run import EpisodeAnswer
from genepool_client.simulate.experiment import StartAccuracy
from genepool_client.simulate.meter import CostMeter, Usage
from genepool_client.simulate.page import report
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.simulate.roles.network import Network
from genepool_client.simulate.roles.script import cast_roles
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
    with CostMeter() as meter:
        return _play(options, Clock(watch, metered=lambda: meter.usage().cpu_seconds), meter)


def _play(options: Options, clock: Clock, meter: CostMeter) -> report.SimulationReport:
    raw = (blueprint_folder(options.blueprint) / "blueprint.json").read_bytes()
    blueprint = parse_blueprint(raw)
    for size in options.sizes:
        blueprint.check(size)
    work = prepare(options.folder)
    with clock.phase("images"):
        scenario = cast(options, work / "data")
        tasks = {path.name: load_images(path, blueprint.image, intensity=options.intensity) for path in scenario.tasks}
    roles = cast_roles(options.roles, [site.name for site in scenario.sites])
    with contextlib.ExitStack() as undo:
        pool = PoolProcess(work / "pool", work, options.blueprint)
        undo.callback(pool.stop)
        with clock.phase("pool server"):
            address = pool.start(entrance=any(role.plays == "outage" for role in roles.values()))
        networks = {
            place: undo.enter_context(Network(address)) for place, role in roles.items() if role.plays == "outage"
        }
        operator = undo.enter_context(pool.operator())
        joined = site_run.join(clock, operator, scenario.sites, roles, networks, work, options.steps, options.intensity)
        stories = site_run.contribute(clock, pool, operator, joined, work, options.parallel)
        listed = site_run.settled(clock, operator)
        entries = {contribution.contribution_id: contribution.site for contribution in listed}
        anchors = read_anchors(pool.folder / "pool.json")
        with consumer_run.Consumer(anchors, work, entries) as consumer:
            episodes = consumer_run.draw_episodes(tasks, options.shots, options.draw_numbers)
            answers = consumer.ask(clock, episodes)
            descendants = consumer.descend(clock, answers, options.sizes)
            rows = consumer.measure(clock, options, episodes, answers, descendants, site_run.learngenes(joined, listed))
            with clock.phase("verification"):
                verified = consumer.prove(descendants)
        with clock.phase("report"):
            sites = [site_run.site_report(site, listed, stories.get(place)) for place, site in enumerate(joined)]
            outcome = _report(options, blueprint.name, clock, meter.usage(), sites, tasks, answers, rows, verified)
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
    usage: Usage,
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
        cpu_seconds=clock.cpu_seconds,
        peak_bytes=usage.peak_bytes,
        rng=options.rng,
    )
