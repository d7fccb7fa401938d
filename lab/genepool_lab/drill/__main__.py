"""python -m genepool_lab.drill --out FOLDER [--only SYSTEM ...] [--rng N]: see the package."""

import argparse
import json
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from genepool_client.simulate.episodes import Episode
from genepool_client.simulate.partition import Scenario
from genepool_client.simulate.watch import Clock, Watch
from genepool_console import terminal
from genepool_lab.drill import cast, flower, judge, nvflare, page, pool
from genepool_lab.drill.cast import Drilled
from genepool_protocol.machine.launching import be_quiet

SYSTEMS: Final = ("genepool", "flower", "flower-tolerant", "nvflare", "nvflare-tolerant")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/drill"))
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--rng", type=int, default=0)
    parser.add_argument("--nvflare", type=Path, help="its environment; made below --out where there is none")
    parser.add_argument("--allow", type=float, default=1.0, help="times as long for everything, on a busy machine")
    args = parser.parse_args()
    be_quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    torch.set_num_threads(1)
    out: Path = args.out.absolute()
    for name in ("data", *args.only):
        shutil.rmtree(out / name, ignore_errors=True)
    scenario = cast.scenario(out / "data")
    drawn = judge.episodes(scenario, out, args.rng)
    seed = judge.of_net("", out, drawn)
    judge.against(seed, seed)
    results = _earlier(out, args.rng, args.allow)
    for name in args.only:
        terminal.say(f"{name}: begins")
        drilled = _plays(out, scenario, drawn, args)[name]()
        drilled.accuracy = drilled.accuracy or judge.of_net(drilled.weights, out, drawn)
        judge.against(drilled.accuracy, seed)
        results[name] = {**asdict(drilled), "steps_lost": drilled.steps_lost}
        terminal.say(f"{name}: {drilled.outcome}, {drilled.steps_lost} steps of others lost")
        finished = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        terms = {"finished": finished, "rng": args.rng, "allow": args.allow}
        (out / "drill.json").write_text(json.dumps({**terms, "seed": seed, "runs": results}, indent=1) + "\n")
    runs = [results[name] for name in SYSTEMS if name in results]
    terminal.answer({}, as_json=False, text=page.rows(runs))
    (out / "drill.md").write_text(page.table(runs))


def _plays(
    out: Path, scenario: Scenario, drawn: Sequence[Episode], args: argparse.Namespace
) -> dict[str, Callable[[], Drilled]]:
    clock, allow = Clock(Watch(terminal.progress)), args.allow
    flare = partial(nvflare.drill, scenario=scenario, environment=args.nvflare, allow=allow)
    flown = partial(flower.drill, scenario=scenario, allow=allow)
    return {
        "genepool": partial(pool.drill, out / "genepool", scenario, drawn, clock, allow),
        "flower": partial(flown, out / "flower", settings=flower.DEFAULT),
        "flower-tolerant": partial(flown, out / "flower-tolerant", settings=flower.tolerant(allow)),
        "nvflare": partial(flare, out / "nvflare", settings=nvflare.DEFAULT),
        "nvflare-tolerant": partial(flare, out / "nvflare-tolerant", settings=nvflare.TOLERANT),
    }


def _earlier(out: Path, rng: int, allow: float) -> dict[str, dict[str, Any]]:
    """What an earlier run with the same terms has, so that single systems can be played again."""
    path = out / "drill.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    return content["runs"] if (content.get("rng"), content.get("allow")) == (rng, allow) else {}


if __name__ == "__main__":
    main()
