"""The images' recipe and compose.yaml: closed as the page says, with command lines that the programs take."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from genepool_protocol.machine.variables import VARIABLES
from tests.support.command_lines import parse

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RECIPE = DEPLOY / "images" / "Containerfile"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
TOOLS = Path(os.environ.get("GENEPOOL_RELEASE_TOOLS", ""))
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
OURS = {"pool": "pool", "site-a": "site", "site-b": "site"}
"""Service -> target of the recipe."""


def stages():
    """Name of a stage -> its instructions, each a word and the rest; what a stage builds on comes first."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", RECIPE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    found, current = {}, []
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = found[name] = list(found.get(parent, []))
        current.append((word, " ".join(rest.split())))
    return found


def last(stage, word):
    return next(rest for name, rest in reversed(stages()[stage]) if name == word)


@pytest.mark.parametrize("stage", ["pool", "site"])
def test_what_an_image_runs_is_what_the_programs_take(stage):
    entry = json.loads(last(stage, "ENTRYPOINT"))
    assert parse(" ".join([*entry, *json.loads(last(stage, "CMD"))])).info_name in ("serve", "run")
    health = last(stage, "HEALTHCHECK")
    assert parse(" ".join(json.loads(health[health.index("[") :]))).info_name in ("health", "status")
    assert re.search(r"--start-period=\d+s", health)


@pytest.mark.parametrize("stage", ["pool", "site"])
def test_an_image_is_not_run_as_root_and_brings_its_bill_of_materials(stage):
    assert last(stage, "USER") == "10001:10001"
    copied = [rest for word, rest in stages()[stage] if word == "COPY"]
    assert any("genepool.cdx.json" in line for line in copied)
    assert not [rest for word, rest in stages()[stage] if word == "ADD"]
    names = dict(part.split("=", 1) for part in last(stage, "ENV").split())
    assert {name for name in names if name.startswith("GENEPOOL_")} <= set(VARIABLES)


def test_every_package_of_an_image_is_taken_by_its_hash():
    installs = [
        part for word, rest in stages()["build"] if word == "RUN" for part in rest.split("&&") if "pip install" in part
    ]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert all("--no-deps" in line for line in installs)
    assert installs[1].split()[-1] == "/dist/genepool-*.whl"  # our own, beside the lock that was made with it


def test_the_recipe_reads_what_a_release_makes_and_the_context_holds_nothing_else():
    copied = {
        name
        for stage in ("build", "base")
        for word, rest in stages()[stage]
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(DIST)/genepool.cdx.json" in made
    assert "$(DIST)/requirements.lock" in made


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "cap_add" not in service
    user, group = service["user"].split(":")
    assert 0 not in (int(user), int(group))
    assert service["pids_limit"] > 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_a_variable_and_every_one_is_declared(name):
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        secret = re.search("PASS|SECRET|KEY", variable)
        assert not secret or str(value).startswith("/run/secrets/"), variable
        assert not variable.startswith("GENEPOOL_") or variable in VARIABLES
    for secret in service.get("secrets", []):
        assert (secret if isinstance(secret, str) else secret["source"]) in COMPOSE["secrets"]
    named = [secret if isinstance(secret, str) else secret["target"] for secret in service.get("secrets", [])]
    used = re.findall(r"/run/secrets/(\w+)", json.dumps(service))
    assert sorted(set(used)) == sorted(named)


def test_secrets_are_files_outside_of_the_repository():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/deploy/compose/secrets/" in ignored
    assert all(secret["file"].startswith("./compose/secrets/") for secret in COMPOSE["secrets"].values())


def test_every_file_network_and_volume_that_is_named_is_there():
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), (name, source)
            elif not source.startswith("${"):
                assert source in COMPOSE["volumes"]
        for other in service.get("depends_on", {}):
            assert other in SERVICES


@pytest.mark.parametrize(("name", "target"), OURS.items())
def test_our_services_run_what_the_programs_take(name, target):
    service = SERVICES[name]
    assert service["build"]["target"] == target
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(RECIPE)
    words = service.get("command") or json.loads(last(target, "CMD"))
    entry = service.get("entrypoint") or json.loads(last(target, "ENTRYPOINT"))
    if entry[0] == "/bin/sh":
        assert entry[2].endswith('exec genepool-server "$$@"')
        entry = entry[3:]
    assert parse(" ".join([*entry, *words])).info_name in ("serve", "run")


def test_the_commands_of_the_page_are_what_the_programs_take():
    page = (ROOT / "docs" / "how-to" / "containers.md").read_text(encoding="utf-8").replace("\\\n", " ")
    run = re.findall(r"^docker compose run --rm (\S+) (.*?)(?:  #.*)?$", page, re.MULTILINE)
    assert {parse(f"{json.loads(last(OURS[name], 'ENTRYPOINT'))[0]} {words}").info_name for name, words in run} == {
        *("init", "enrol", "contribute")
    }
    within = re.findall(r"^docker compose exec pool (.*)$", page, re.MULTILINE)
    assert [parse(words).info_name for words in within] == ["invite", "approve"]


def test_only_the_proxy_and_the_screen_of_the_numbers_can_be_reached_from_outside():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy": ["443:443"], "prometheus": ["127.0.0.1:9090:9090"]}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert set(SERVICES["database"]["networks"]) == set(SERVICES["store"]["networks"]) == {"inside"}


def test_everything_goes_through_the_proxy_which_the_pool_knows():
    page = (ROOT / "docs" / "how-to" / "containers.md").read_text(encoding="utf-8").replace("\\\n", " ")
    [words] = re.findall(r"^docker compose run --rm pool (init .*?)(?:  #.*)?$", page, re.MULTILINE)
    made = parse(f"genepool-server {words}").params
    pool, proxy = SERVICES["pool"]["networks"]["inside"], SERVICES["proxy"]["networks"]["inside"]
    assert list(made["proxy"]) == [proxy["ipv4_address"]]
    port = made["entrance"].rpartition(":")[2]
    assert SERVICES["proxy"]["environment"]["ENTRANCE"] == f"{pool['ipv4_address']}:{port}"
    assert made["listen"] is None  # on loopback of the container
    assert made["advertise"] == "pool.example:443"
    assert "pool.example" in SERVICES["proxy"]["networks"]["public"]["aliases"]
    exposed = last("pool", "EXPOSE").split()
    assert port in exposed


def test_prometheus_reads_where_the_pool_shows_its_numbers():
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    [target] = scraped[0]["static_configs"][0]["targets"]
    context = parse(" ".join(["genepool-server", *SERVICES["pool"]["command"]]))
    assert target == f"pool:{context.params['metrics'].rpartition(':')[2]}"
    assert set(SERVICES["prometheus"]["networks"]) & set(SERVICES["pool"]["networks"]) == {"watched"}


@pytest.mark.parametrize(
    "command",
    [
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"),
        ("hadolint", RECIPE),
    ],
    ids=lambda command: command[0],
)
def test_tools_of_others_find_nothing(command):
    tool = TOOLS / command[0]
    if not tool.exists():
        pytest.skip("GENEPOOL_RELEASE_TOOLS names no environment with it (make)")
    checked = subprocess.run([tool, *command[1:]], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(HAPROXY is None, reason="there is no HAProxy")
def test_haproxy_takes_its_file():
    command = [HAPROXY, "-c", "-f", DEPLOY / "proxy" / "haproxy.cfg"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
