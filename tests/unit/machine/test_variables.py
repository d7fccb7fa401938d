"""The environment: what is ours is declared, and what only looks like ours is refused with the nearest name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GENEPOOL_HOEM", "the nearest is GENEPOOL_HOME"),
        ("GENEPOOL_PASPHRASE", "the nearest is GENEPOOL_PASSPHRASE"),
        ("GENEPOOL_identity", "GENEPOOL_identity"),
        ("GENEPOOL_PORT_8470_TCP\x1b[2J", "\\x1b"),
    ],
)
def test_a_name_that_is_none_of_ours_is_refused_with_the_nearest(name, said):
    with pytest.raises(InvalidInput) as caught:
        variables.check({"PATH": "/bin", "GENEPOOL_HOME": "/x", name: "secret value"})
    assert caught.value.reason == "CONFIG_INVALID"
    assert said in caught.value.diagnostics()
    assert "secret value" not in caught.value.diagnostics()


def test_every_declared_name_and_every_foreign_one_passes():
    variables.check(dict.fromkeys(variables.VARIABLES, "x") | {"HOME": "/x", "genepool_home": "x", "GENEPOOL": "x"})


def test_no_code_reads_a_variable_under_a_name_of_its_own():
    root = Path(__file__).parents[3]
    code = [path for room in ("protocol", "server", "client", "lab") for path in (root / room).rglob("*.py")]
    literal = re.compile(r"""["']GENEPOOL_[A-Z_]+["']""")
    naming = [path.name for path in code if literal.search(path.read_text(encoding="utf-8"))]
    assert naming == ["variables.py"]


@pytest.mark.parametrize("program", ["genepool", "genepool-server"])
def test_both_programs_refuse_it_before_they_do_anything(program):
    module = "genepool_client.commands.cli" if program == "genepool" else "genepool_server.commands.cli"
    ended = subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main()", "--help"],
        env={"PATH": "/bin", "GENEPOOL_HOEM": "/x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "error (CONFIG_INVALID): the environment has GENEPOOL_HOEM" in ended.stderr
