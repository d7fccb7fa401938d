"""What computes nothing waits for nothing that computes: a command's answer and a server's front load no torch."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "timm", "torchvision", "ray", "flwr")
SITE = ("commands.cli", "site.overview", "site.submission", "site.withdrawing", "site.enrolment", "training.privacy")
CONSUMER = ("consumer.pool", "consumer.select.remote", "consumer.descendant.verify", "audit.verify", "commands.doctor")
SERVER = ("commands.cli", "commands.operating", "app", "front.server", "serving.service", "serving.ray.supervised")
CODE = """
import importlib, json, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


@pytest.mark.parametrize(
    ("package", "modules"), [("genepool_client", SITE), ("genepool_client", CONSUMER), ("genepool_server", SERVER)]
)
def test_what_only_reads_and_hands_on_loads_nothing_that_computes(package, modules):
    names = [f"{package}.{module}" for module in modules]
    command = [sys.executable, "-c", CODE, json.dumps(HEAVY), *names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == []


AT_THE_END = """
import atexit, sys
from genepool_{side}.commands import cli
atexit.register(lambda: print("loaded:", *(name for name in {heavy} if name in sys.modules)))
cli.main()
"""


@pytest.mark.parametrize(
    ("side", "arguments", "code"),
    [
        ("client", ["--help"], 0),
        ("client", ["site", "status", "nowhere"], 3),
        ("client", ["verify", "nowhere"], 2),
        ("server", ["sites", "--dir", "nowhere"], 3),
    ],
)
def test_help_and_refusals_load_nothing_that_computes(side, arguments, code, tmp_path):
    command = [sys.executable, "-c", AT_THE_END.format(side=side, heavy=HEAVY), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert run.stdout.splitlines()[-1] == "loaded:"
