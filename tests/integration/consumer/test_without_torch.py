"""Auditors and witnesses with the base install, operators with the extra `operator`: no PyTorch, Ray or Flower."""

import shutil

import pytest

from genepool_client.consumer.pool import Pool
from tests.integration.consumer.conftest import TINY
from tests.support.without import HEAVY, LEDGERS, without


@pytest.fixture(scope="module")
def descendant(server, own_home, tmp_path_factory):
    """One that was descended where PyTorch is."""
    folder = tmp_path_factory.mktemp("descended") / "model"
    with Pool(server.address, server.anchors, blueprint=TINY) as pool:
        [best] = [member.contribution_id for member in server.pool.contributions.all() if member.site == "north"]
        pool.write(folder, pool.budget("2,2", None, None), {best: 1000})
    yield folder
    shutil.rmtree(own_home / "config", ignore_errors=True)


def test_an_auditor_verifies_the_log_and_a_descendant(server, descendant):
    anchors = server.folder / "pool.json"
    ended = without(
        HEAVY + LEDGERS,
        "genepool",
        ("log", "verify", "--pool", anchors),
        ("verify", descendant, "--pool", anchors),
        ("verify", descendant, "--pool", anchors, "--online"),
    )
    assert ended.returncode == 0, ended.stderr
    assert "the log is sound" in ended.stdout
    assert ended.stdout.count("verified: ") == 2


def test_a_witness_looks(server, tmp_path):
    commands = (
        ("witness", "init", tmp_path / "w", "--name", "witness.example/w"),
        ("witness", "run", tmp_path / "w", "--pool", server.folder / "pool.json"),
    )
    ended = without(HEAVY + LEDGERS, "genepool", *commands)
    assert "error (KEY_UNKNOWN)" in ended.stderr  # it has verified the log by then, and the pool names no witness


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (("select", "--pool", "pool.json", "--support", "x"), "PIL"),
        (("simulate", "--sites", "2"), "PIL"),
        (("finetune", "x", "--data", "y"), "PIL"),
    ],
)
def test_what_needs_more_names_the_extra(command, package):
    ended = without(HEAVY + LEDGERS, "genepool", command)
    assert ended.returncode == 2
    said = f"error (DEPENDENCY_MISSING): this needs {package}, which is not installed; "
    assert ended.stderr == f"{said}pip install 'genepool[consumer]', or the extra site or all\n"


def test_an_operator_makes_runs_and_saves_a_pool_and_is_told_what_serving_needs(tmp_path):
    pool, backup, keys = tmp_path / "pool", tmp_path / "backup", tmp_path / "keys"
    commands = (
        ("init", pool, "--workers", "0"),
        ("invite", "north", "--dir", pool, "--out", tmp_path / "invite.json"),
        ("sites", "--dir", pool),
        ("contributions", "--dir", pool),
        ("fsck", pool),
        ("root", "show", "--dir", pool),
        ("backup", pool, backup, "--keys", keys),
        ("restore", backup, tmp_path / "again", "--keys", keys),
        ("serve", pool),
    )
    ended = without(HEAVY, "genepool-server", *commands)
    assert (tmp_path / "again" / "genepool.toml").exists()
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error (DEPENDENCY_MISSING): this needs ")
    assert "'genepool[server]'" in ended.stderr


def test_a_package_that_no_extra_brings_is_a_defect():
    ended = without(("difflib",), "genepool", ("doctor",))
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
