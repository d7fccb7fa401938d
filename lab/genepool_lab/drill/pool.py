"""genepool over the drill's sites: a real pool server, and each site a process that is started again when it died."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from genepool_client.simulate import consumer_run, site_run
from genepool_client.simulate.episodes import Episode
from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.pool_operator import PoolOperator
from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.simulate.roles.network import Network
from genepool_client.simulate.roles.players import Player, Players
from genepool_client.simulate.roles.script import Role
from genepool_client.simulate.site_run import JoinedSite
from genepool_client.simulate.watch import Clock
from genepool_lab.drill import cast, judge
from genepool_lab.drill.cast import GONE, KILLED, NEEDED, OTHERS, OUTAGE, SITES, SLOW, STEPS, Drilled
from genepool_protocol.learngene.blueprint import blueprint_folder, parse_blueprint
from genepool_protocol.trust.anchors import read_anchors

_LOOK: Final = 0.25  # seconds
ROLES: Final = {
    KILLED: Role(place=KILLED, plays="crash", at="every"),
    OUTAGE: Role(place=OUTAGE, plays="outage", at="submit", seconds=cast.AWAY),
    SLOW: Role(place=SLOW, plays="straggler", slower=cast.SLOWER),
    GONE: Role(place=GONE, plays="crash", at="train", back=False),
    **{place: Role(place=place, plays="honest") for place in OTHERS},
}


def drill(folder: Path, scenario: Scenario, episodes: Sequence[Episode], clock: Clock, allow: float) -> Drilled:
    """One run, with the accuracy of what TALS selects at its end; `allow` as in `flower.drill`."""
    folder.mkdir(parents=True)
    pool = PoolProcess(folder / "pool", folder, cast.BLUEPRINT)
    with contextlib.ExitStack() as undo:
        undo.callback(pool.stop)
        networks = {OUTAGE: undo.enter_context(Network(pool.start(entrance=True)))}
        operator = undo.enter_context(pool.operator())
        joined = site_run.join(clock, operator, scenario.sites, ROLES, networks, folder, STEPS)
        drilled = _play(operator, joined, allow * cast.LIMIT)
        listed = site_run.settled(clock, operator)
        names = {contribution.contribution_id: contribution.site for contribution in listed}
        drilled.notes += tuple(f"{row.site} is {row.state}: {row.note}" for row in listed if row.state != "ACTIVE")
        anchors = read_anchors(pool.folder / "pool.json")
        size = parse_blueprint((blueprint_folder(cast.BLUEPRINT) / "blueprint.json").read_bytes()).reference
        with consumer_run.Consumer(anchors, folder, names) as consumer:
            selected = consumer.ask(clock, episodes)
            descendants = consumer.descend(clock, selected, [size])
        folders = [descendants[answer.weights, size] for answer in selected]
        drilled.accuracy = judge.of_descendants(folders, episodes)
    return drilled


def _play(operator: PoolOperator, joined: Sequence[JoinedSite], limit: float) -> Drilled:
    players = {place: Player(site.folder, ROLES[place], site.network, operator) for place, site in enumerate(joined)}
    names = {site.name: place for place, site in enumerate(joined)}
    began, seven, held = time.monotonic(), None, set()
    with Players(players, SITES) as playing:
        while playing.left and time.monotonic() - began < limit:
            playing.look()
            held = {names[row.site] for row in operator.contributions() if row.site in names}
            if seven is None and len(held) >= NEEDED:
                seven = time.monotonic() - began
            time.sleep(_LOOK)
        unfinished, seconds = playing.left, time.monotonic() - began
        stories = playing.stories()
    done = [place for place in OTHERS if site_run.steps_done(joined[place].folder) > 0]
    return Drilled(
        system="genepool",
        settings="as it comes",
        outcome="completed" if not unfinished else f"ended after {limit:.0f} s, {unfinished} sites unfinished",
        seconds=seconds,
        seven=seven,
        sites=tuple(sorted(held)),
        steps_done=len(done) * STEPS + sum(STEPS * (stories[place].starts - 1) for place in done),
        steps_kept=sum(STEPS for place in done if place in held),
        notes=tuple(f"site {place}: {event}" for place, story in sorted(stories.items()) for event in story.events),
    )
