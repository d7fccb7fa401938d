"""The one place that all launchers take their environment from, and that none of them goes round."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import genepool_client
import genepool_protocol
import genepool_server
from genepool_protocol.machine import launching
from genepool_protocol.wire.errors import InvalidInput

PACKAGES = [Path(package.__file__).parent for package in (genepool_client, genepool_protocol, genepool_server)]

STARTERS = {
    "machine/processes.py": "env=environment(",
    "machine/lifeline.py": "env=environment(",
    "deployment/namespaces.py": "env=environment(",
    "serving/ray/link.py": "env=launching.environment(launching.ray_environment(",
    "confined/worker.py": "env=_environment(",  # knows even less of the environment
}
"""Modules that start programs, and the environment that each gives to every one of them."""


def sources() -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for root in PACKAGES for path in root.rglob("*.py")}


def test_what_the_shell_says_about_ray_and_flower_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("FLWR_HOME", "/home/somebody")
    monkeypatch.setenv("GENEPOOL_CACHE", "/cache")
    found = launching.environment({"OWN": "first"}, {"OWN": "last", "RAY_AUTH_MODE": "token"})
    assert (found["OWN"], found["RAY_AUTH_MODE"], found["GENEPOOL_CACHE"]) == ("last", "token", "/cache")
    assert not {"RAY_ADDRESS", "FLWR_HOME"} & set(found)
    assert launching.QUIET.items() <= found.items()


def test_each_ray_has_a_secret_of_its_own_that_only_we_can_read(tmp_path):
    with (
        launching.ray_folder(tmp_path) if len(str(tmp_path)) <= launching.RAY_PARENT else launching.ray_folder() as own
    ):
        assert stat.S_IMODE(own.path.stat().st_mode) == 0o700
        tokens = []
        for _ in range(2):
            variables = launching.ray_environment(own.path)
            token = Path(variables["RAY_AUTH_TOKEN_PATH"])
            assert (token.parent, stat.S_IMODE(token.stat().st_mode)) == (own.path, 0o600)
            assert variables["RAY_AUTH_MODE"] == "token"
            assert variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
            tokens.append(token.read_text())
        assert len({*tokens}) == 2
        assert min(map(len, tokens)) == 64


def test_a_link_in_the_tokens_place_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "token").symlink_to(victim)
    launching.ray_environment(tmp_path)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "token").is_symlink()


def test_a_folder_whose_path_is_too_long_for_sockets_is_refused_or_gone_round(tmp_path, monkeypatch):
    long = tmp_path / ("x" * launching.RAY_PARENT)
    long.mkdir()
    with pytest.raises(InvalidInput) as caught:
        launching.ray_folder(long)
    assert caught.value.reason == "CONFIG_INVALID"
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(long))
    with launching.ray_folder() as own:
        assert own.path.parent == Path("/tmp")


@pytest.mark.parametrize("what", ["subprocess.Popen", "subprocess.run", "os.spawn", "os.posix_spawn"])
def test_programs_are_started_in_few_places_and_each_closes_them(what):
    found = {name for name, text in sources().items() if what in text}
    assert found <= set(STARTERS)
    for name in found:
        started = sum(sources()[name].count(f"subprocess.{call}(") for call in ("Popen", "run"))
        assert sources()[name].count(STARTERS[name]) == started


def test_ray_is_started_in_one_place():
    assert {name for name, text in sources().items() if "ray.init(" in text} == {"serving/ray/runtime.py"}


def test_memory_that_was_freed_is_overwritten():
    read, write = os.pipe()
    child = os.fork()
    if not child:  # in a process of its own: it changes the whole process
        import ctypes

        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
            ctypes.c_void_p,
            [ctypes.c_size_t],
            [ctypes.c_void_p],
        )
        launching.overwrite_freed_memory()
        at = libc.malloc(4096)
        ctypes.memset(at, 0x5A, 4096)
        libc.free(at)
        os.write(write, ctypes.string_at(at + 64, 1024))
        os._exit(0)
    os.waitpid(child, 0)
    left = os.read(read, 1024)
    os.close(read)
    os.close(write)
    assert b"\x5a\x5a" not in left


GRPC_COMPLAINS = """
import grpc
from concurrent import futures
try:
    grpc.server(futures.ThreadPoolExecutor(1)).add_insecure_port("256.1.1.1:99999")
except RuntimeError:
    pass
"""

SPEAKERS = {
    "a command of the client": "import genepool_client.commands.cli",
    "a command of the server": "import genepool_server.commands.cli",
    "a program that uses our client": "from genepool_client import Pool",
    "a child in our environment": "",
}


@pytest.mark.parametrize("who", SPEAKERS)
def test_grpc_writes_nothing_of_its_own(who):
    loud = {name: text for name, text in os.environ.items() if not name.startswith("GRPC_")}
    quiet = loud if SPEAKERS[who] else launching.environment()
    told = [
        subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True, timeout=120
        ).stderr
        for code, variables in ((GRPC_COMPLAINS, loud), (SPEAKERS[who] + GRPC_COMPLAINS, quiet))
    ]
    assert "256.1.1.1" in told[0]  # else this test says nothing
    assert told[1] == ""
