"""python -m genepool_lab.drill --out FOLDER [--only SYSTEM ...] [--rng N]: see the package."""

import argparse
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch

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
    args = parser.parse_args()
    be_quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    torch.set_num_threads(1)
    out: Path = args.out.absolute()
    for name in ("data", *SYSTEMS):
        shutil.rmtree(out / name, ignore_errors=True)
    scenario, clock = cast.scenario(out / "data"), Clock(Watch(terminal.progress))
    drawn = judge.episodes(scenario, out, args.rng)
    plays: dict[str, Callable[[], Drilled]] = {
        "genepool": lambda: pool.drill(out / "genepool", scenario, drawn, clock),
        "flower": lambda: flower.drill(out / "flower", scenario, flower.DEFAULT),
        "flower-tolerant": lambda: flower.drill(out / "flower-tolerant", scenario, flower.TOLERANT),
        "nvflare": lambda: nvflare.drill(out / "nvflare", scenario, nvflare.DEFAULT, args.nvflare),
        "nvflare-tolerant": lambda: nvflare.drill(out / "nvflare-tolerant", scenario, nvflare.TOLERANT, args.nvflare),
    }
    seed = judge.of_net("", out, drawn)
    judge.against(seed, seed)
    results = []
    for name in args.only:
        terminal.say(f"{name}: begins")
        drilled = plays[name]()
        drilled.accuracy = drilled.accuracy or judge.of_net(drilled.weights, out, drawn)
        judge.against(drilled.accuracy, seed)
        results.append({**asdict(drilled), "steps_lost": drilled.steps_lost})
        terminal.say(f"{name}: {drilled.outcome}, {drilled.steps_lost} steps of others lost")
        finished = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        content = {"finished": finished, "rng": args.rng, "seed": seed, "runs": results}
        (out / "drill.json").write_text(json.dumps(content, indent=1) + "\n")
    terminal.answer({}, as_json=False, text=page.rows(results))
    (out / "drill.md").write_text(page.table(results))


if __name__ == "__main__":
    main()
