"""One contribution through the house: `python -m tests.house.walk [TREE]`, for any tree with a `.venv` of its own.

Runs a pool and a site as a user does, with a hook in both processes that sees every call between functions of ours,
and prints for each side the modules that were entered, the pairs of modules that called each other (hops), and how many
calls of ours stood on each other at most. Of the server only what happens while the contribution is made counts.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.support.images import write_classes

HOOK = """
import atexit, json, os, signal, sys, threading
seen = {"modules": set(), "hops": set(), "deepest": 0}
def ours(frame):
    return frame is not None and "/genepool_" in frame.f_code.co_filename and frame.f_code.co_name != "<module>"
def module(frame):
    return frame.f_code.co_filename.rpartition("/genepool_")[2]
def hook(frame, event, arg):
    if event == "call" and ours(frame):
        seen["modules"].add(module(frame))
        depth, above, caller = 1, frame.f_back, None
        while above is not None:
            if ours(above):
                depth, caller = depth + 1, caller or above
            above = above.f_back
        seen["deepest"] = max(seen["deepest"], depth)
        if caller is not None and module(caller) != module(frame):
            seen["hops"].add((module(caller), module(frame)))
def reset(*_):
    seen.update(modules=set(), hops=set(), deepest=0)
def write():
    with open(f"{os.environ['WALK']}.{os.getpid()}", "w") as file:
        json.dump({name: sorted(value) if isinstance(value, set) else value for name, value in seen.items()}, file)
if "WALK" in os.environ:
    signal.signal(signal.SIGUSR2, reset)
    threading.setprofile(hook)
    sys.setprofile(hook)
    atexit.register(write)
"""


def main() -> None:
    """Print a table in Markdown."""
    tree = Path(sys.argv[1] if len(sys.argv) > 1 else ".").absolute()
    with tempfile.TemporaryDirectory(prefix="genepool-walk-") as name:
        work = Path(name)
        (work / "hook").mkdir()
        (work / "hook" / "sitecustomize.py").write_text(HOOK)
        write_classes(work / "images", {"a": 20, "b": 20}, np.random.default_rng(0))
        print("| side | modules | hops between modules | deepest |\n|---|---|---|---|")
        for side, walk in contribute(tree / ".venv" / "bin", work).items():
            print(f"| {side} | {len(walk['modules'])} | {len(walk['hops'])} | {walk['deepest']} |")


def contribute(binaries: Path, work: Path) -> dict[str, dict]:
    """What the hook saw on each side."""
    env = os.environ | {"GENEPOOL_HOME": str(work / "home")}

    def hooked(side: str) -> dict[str, str]:
        return env | {"WALK": str(work / side), "PYTHONPATH": str(work / "hook")}

    def run(command: str, env: dict[str, str] = env) -> str:
        program, *arguments = command.split()
        finished = subprocess.run(
            [binaries / program, *arguments], cwd=work, env=env, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    run("genepool-server init pool")
    command = [binaries / "genepool-server", "serve", "pool", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=work, env=hooked("pool"), stdout=subprocess.DEVNULL) as server:
        while not (work / "pool" / "address").exists():
            assert server.poll() is None
            time.sleep(0.2)
        run("genepool-server invite north --dir pool")
        run("genepool site init north --invite invite-north.json --data images --steps 2")
        run("genepool site enrol north")
        run("genepool-server approve north --dir pool")
        server.send_signal(signal.SIGUSR2)
        run("genepool site contribute north", hooked("site"))
        server.terminate()
    walks = {}
    for side in ("site", "pool"):  # children of the server write files of their own: the largest is its own
        files = [json.loads(path.read_text()) for path in work.glob(f"{side}.*")]
        walks[side] = max(files, key=lambda walk: len(walk["modules"]))
    return walks


if __name__ == "__main__":
    main()
