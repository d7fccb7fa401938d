"""`genepool-server` as it is installed: what an operator types, with and without a running server."""

import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import typer

from genepool_protocol.trust.anchors import read_anchors, read_invite
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound
from genepool_server.commands import operating
from genepool_server.pool.pool import OpenPool
from tests.support import sites, stores
from tests.support.genes import write_seed
from tests.support.server import command, new_pool, operate, serving


def failure(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Exit code and reason of a command that failed in one sentence."""
    assert "Traceback" not in done.stderr, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error ("), done.stderr
    return done.returncode, line.removeprefix("error (").split(")")[0]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A pool with two active sites, three contributions and one site that waits."""
    folder = new_pool(tmp_path_factory.mktemp("template") / "pool", admission="manual")
    rng = np.random.default_rng(3)
    with OpenPool.open(folder, automatic=False) as pool:
        north, south = sites.join(pool, "north"), sites.join(pool, "south")
        for site in (north, south, north):
            sites.contribute(pool, site, rng)
        for name in ("west", "later"):
            sites.enrol(pool, sites.Contributor(name))
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path / "pool")
    return tmp_path / "pool"


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_needs_none_of_the_heavy_libraries():
    heavy = ("torch", "ray", "grpc", "numpy", "sqlalchemy", "cryptography", "pydantic", "tuf")
    code = f"import sys, genepool_server.commands.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_there_with_one_sentence_and_json():
    from genepool_server.commands.cli import app

    def commands(group):
        return dict(group.commands)

    found = commands(typer.main.get_command(app))
    for name in ("blueprint", "root", "campaign", "config", "dashboard"):
        found |= {f"{name} {verb}": one for verb, one in commands(found.pop(name)).items()}
    assert set(found) == {
        *(
            "init",
            "serve",
            "invite",
            "sites",
            "approve",
            "suspend",
            "revoke",
            "contributions",
            "show",
            "admit",
            "reject",
            "withdraw",
        ),
        *("fsck", "health", "log", "backup", "restore", "seal", "unseal"),
        *("blueprint list", "blueprint show", "blueprint make", "blueprint bake", "blueprint measure"),
        *("campaign app", "campaign start", "campaign list", "campaign show", "campaign stop"),
        *("campaign resume", "names"),
        "config check",
        "dashboard link",
        *("root show", "root publish", "root rotate-key", "root add-key", "root threshold"),
    }
    for name, one in found.items():
        assert one.help.strip().endswith("."), name
        assert "\n" not in one.help.strip(), name
        assert any("--json" in option.opts for option in one.params), name


def test_the_root_help_documents_the_exit_codes():
    done = command("-h")
    assert done.returncode == 0
    assert "Exit codes: 0 done" in done.stdout


def test_a_command_that_does_not_exist_is_a_usage_error():
    done = command("nonsense")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# -- init --------------------------------------------------------------------------------------------------------------


def test_init_makes_a_whole_pool_and_never_touches_an_existing_one(tmp_path):
    done = command("init", "pool", "--name", "pool.test/log", "--workers", "0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["name"], answer["blueprints"]) == ("pool.test/log", "nano-32")
    pool = tmp_path / "pool"
    assert {path.name for path in pool.iterdir()} >= {
        "genepool.toml",
        "pool.json",
        "keys",
        "ledger.sqlite",
        "blobs",
        "spool",
    }
    assert sorted(path.name for path in (pool / "keys").iterdir()) == [
        *("ca.crt", "ca.pem", "client-ca.crt", "client-ca.pem", "log.pem", "online.pem", "operator.pem", "release.pem"),
        "review.key",
    ]
    assert (pool / "keys").stat().st_mode & 0o777 == 0o700
    assert read_anchors(pool / "pool.json").address == "127.0.0.1:8470"
    before = {path: path.read_bytes() for path in pool.rglob("*") if path.is_file()}
    assert failure(command("init", "pool", cwd=tmp_path)) == (2, "PATH_NOT_EMPTY")
    assert {path: path.read_bytes() for path in pool.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_init_fills_the_empty_folder_that_one_stands_in(tmp_path):
    write_seed(tmp_path / "family", np.random.default_rng(0))
    place = tmp_path / "pool"
    place.mkdir()
    identity = place.stat().st_ino
    done = command("init", ".", "--blueprint", tmp_path / "family", cwd=place)
    assert done.returncode == 0, done.stderr
    assert place.stat().st_ino == identity
    assert command("sites", cwd=place).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--blueprint", "nothing"), (3, "BLUEPRINT_UNKNOWN")),
        (("--blueprint", "family"), (6, "SEED_MISMATCH")),
        (("--name", "two words"), (2, "NAME_INVALID")),
        (("--listen", "nowhere"), (2, "CONFIG_INVALID")),
        (("--admission", "perhaps"), (2, "CONFIG_INVALID")),
    ],
)
def test_an_init_that_is_refused_leaves_nothing(tmp_path, arguments, expected):
    write_seed(tmp_path / "family", np.random.default_rng(0))
    (tmp_path / "family" / "seed.safetensors").write_bytes(b"another seed")
    assert failure(command("init", "pool", *arguments, cwd=tmp_path)) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["family"]


def test_init_below_a_file_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    assert failure(command("init", tmp_path / "file" / "pool"))[1] == "DISK_FAILED"
    assert failure(command("init", tmp_path / "file"))[1] == "PATH_NOT_EMPTY"


# -- storage -----------------------------------------------------------------------------------------------------------


def test_a_pool_moves_to_postgresql_and_s3_by_its_backup_and_no_secret_is_asked_for(tmp_path):
    new_pool(tmp_path / "pool")
    done = command("backup", "pool", "out", "--keys", "out-keys", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"folder": "out", "keys": "out-keys", "contributions": 0, "log_size": 0}
    assert failure(command("restore", "out", "pool", "--keys", "out-keys", cwd=tmp_path)) == (2, "PATH_NOT_EMPTY")
    ledger, blobs = stores.database(), stores.prefix()
    options = ("--keys", "out-keys", "--ledger", ledger, "--blobs", blobs, "--published", "pool/log.size")
    done = command("restore", "out", "moved", *options, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compared_with"] == "pool/log.size"
    assert not (tmp_path / "moved" / "ledger.sqlite").exists()
    assert command("invite", "north", "--dir", "moved", cwd=tmp_path).returncode == 0
    found = command("fsck", "moved", "--json", cwd=tmp_path)
    assert (found.returncode, json.loads(found.stdout)["problems"]) == (0, [])
    with_password = ledger.replace("postgres@", "postgres:s3cret@")
    refused = command("init", "other", "--ledger", with_password, cwd=tmp_path)
    assert failure(refused) == (2, "CONFIG_INVALID")
    assert "s3cret" not in refused.stdout + refused.stderr
    assert not (tmp_path / "other").exists()


# -- operating ---------------------------------------------------------------------------------------------------------


def story(folder) -> list:
    """What an operator does in an ordinary week, and what comes of it."""
    said = []
    with operating.operate(folder) as operator:
        said += [
            change("west").state for change in (operator.sites.approve, operator.sites.suspend, operator.sites.revoke)
        ]
        made = operator.sites.invite("east", sites.NOW, roles=("auditor",))
        said.append([len(part) for part in (made.invite_id, made.secret, made.expires)])
        said.append(operator.sites.all())
        first, second, _third = (one.contribution_id for one in operator.contributions.all())
        said.append(operator.contributions.decide(first, "ACTIVE", "looks good").note)
        said.append(operator.contributions.decide(second, "REJECTED", "").state)
        said.append([(replace(one, path=one.path.relative_to(folder))) for one in operator.contributions.all()])
        operator_sealed = operator.upkeep.seal(folder.parent / "sealed")
        said.append(operator.upkeep.backup(folder.parent / "backup", folder.parent / "backup-keys"))
        gone = operator.contributions.withdraw_as_operator(first, "court order")
        said += [operator_sealed, gone.erased, gone.descendants, list(operator.contributions.descendants.of(first))]
        said.append([one.state for one in operator.contributions.all()])
        said += [operator.heads.latest().split("\n")[:2], len(operator.log.entries(1, 5))]  # roots depend on the clock
        for refused in (
            lambda: operator.sites.approve("nobody"),
            lambda: operator.sites.approve("west"),
            lambda: operator.sites.approve("later", "0" * 32),
            lambda: operator.sites.invite("east", sites.NOW, roles=("operator",)),
            lambda: operator.sites.invite("No Name", sites.NOW),
            lambda: operator.contributions.decide(second, "ACTIVE", ""),
            lambda: operator.contributions.decide("0" * 64, "ACTIVE", ""),
            lambda: operator.contributions.withdraw_as_operator("0" * 64, ""),
            lambda: operator.log.entries(99, 1),
        ):
            with pytest.raises(GenepoolError) as caught:
                refused()
            told = caught.value  # a name that is none is told by the form of the message, or by the pool
            said.append((told.reason, *(("", "") if told.reason == "NAME_INVALID" else (told.message, told.fix))))
    return said


def test_the_operator_gets_the_same_answers_with_and_without_a_running_server(template, tmp_path):
    quiet, running = (tmp_path / name / "pool" for name in ("quiet", "running"))
    for place in (quiet, running):
        shutil.copytree(template, place)
    without = story(quiet)
    with serving(running):
        assert story(running) == without
    assert [reason for reason, _, _ in without[-9:]] == [
        *("SITE_UNKNOWN", "STATE_TRANSITION", "FINGERPRINT_MISMATCH", "OPTION_INVALID", "NAME_INVALID"),
        *("STATE_TRANSITION", "CONTRIBUTION_UNKNOWN", "CONTRIBUTION_UNKNOWN", "LOG_RANGE"),
    ]


def test_the_commands_operate_a_running_server(folder):
    with serving(folder):
        (waiting,) = (one for one in operate(folder, "sites") if one["site"] == "west")
        assert failure(command("approve", "west", "--fingerprint", "0" * 32, "--dir", folder)) == (
            4,
            "FINGERPRINT_MISMATCH",
        )
        approved = operate(folder, "approve", "west", "--fingerprint", waiting["fingerprint"])
        assert (approved["state"], approved["fingerprint"]) == ("ACTIVE", waiting["fingerprint"])
        path = folder.parent / "invitation.json"
        made = operate(folder, "invite", "east", "--out", str(path), "--hours", "2", "--role", "auditor")
        invite = read_invite(path)
        assert made == {"site": "east", "file": str(path), "expires": invite.expires}
        assert (invite.site, invite.anchors) == ("east", read_anchors(folder / "pool.json"))
        assert path.stat().st_mode & 0o777 == 0o600
        states = [(one["site"], one["state"]) for one in operate(folder, "sites")]
        assert states == [
            *(("east", "INVITED"), ("later", "PENDING")),
            *(("north", "ACTIVE"), ("south", "ACTIVE"), ("west", "ACTIVE")),
        ]
        rows = operate(folder, "contributions")
        assert [(row["site"], row["state"]) for row in rows] == [
            (site, "QUARANTINED") for site in ("north", "south", "north")
        ]
        first, second, _third = (row["contribution_id"] for row in rows)
        assert operate(folder, "admit", first[:20], "--note", "looks good")["state"] == "ACTIVE"
        assert operate(folder, "reject", second)["state"] == "REJECTED"
        shown = operate(folder, "show", first[:20])
        assert (shown["contribution_id"], shown["state"], shown["note"]) == (first, "ACTIVE", "looks good")
        assert shown["manifest"]["site"] == "north"
        log = operate(folder, "log", "--last", "2")
        assert [one["kind"] for one in log["entries"]] == ["admitted", "rejected"]
        assert [one["contribution_id"] for one in log["entries"]] == [first, second]
        assert failure(command("admit", second, "--dir", folder)) == (6, "STATE_TRANSITION")
        done = operate(folder, "withdraw", first[:20], "--reason", "asked to")
        assert (done["contribution_id"], done["erased"], done["descendants"]) == (first, True, [])
        assert operate(folder, "show", first)["descendants"] == []
        assert [one["kind"] for one in operate(folder, "log", "--last", "2")["entries"]] == ["withdrawn", "erased"]


def test_the_tables_are_for_people(folder):
    contributions = command("contributions", "--dir", folder).stdout.splitlines()
    assert contributions[0].split()[:3] == ["contribution", "id", "site"]
    assert len(contributions) == 4
    assert all(len(line.split()[0]) == 64 for line in contributions[1:])
    identifier = contributions[1].split()[0]
    assert f"contribution_id: {identifier}" in command("show", identifier[:12], "--dir", folder).stdout
    assert "pool.local/log" in command("log", "--dir", folder).stdout


def test_what_a_pool_holds_cannot_forge_what_the_operator_reads(folder):
    evil = "\x1b]52;c;ZXZpbA==\x07\x9b2K\r\nstate: ACTIVE\u202e\u200b[b]x[/b]"
    identifier = command("contributions", "--dir", folder).stdout.splitlines()[1].split()[0]
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE contribution SET note = ?, license = ?", (evil, evil))
        ledger.execute("UPDATE site SET state = ? WHERE name = 'west'", (evil,))
    for verb in (["show", identifier], ["contributions"], ["sites"]):
        done = command(*verb, "--dir", folder)
        assert done.returncode == 0, done.stderr
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
        assert "state: ACTIVE" not in done.stdout.split("\n")
        assert "[b]x[/b]" in done.stdout.replace("\n", "")
    for line in ("show", "contributions"):
        raw = command(line, *([identifier] if line == "show" else []), "--dir", folder, "--json").stdout
        assert all(" " <= one <= "~" or one == "\n" for one in raw)


@pytest.mark.parametrize("verb", ["admit", "reject", "withdraw"])
def test_the_operator_cannot_sign_or_send_what_does_not_show(folder, verb):
    identifier = command("contributions", "--dir", folder).stdout.splitlines()[1].split()[0]
    option = "--reason" if verb == "withdraw" else "--note"
    done = command(verb, identifier, option, "because\x1b[2J", "--dir", folder)
    assert failure(done)[0] in (1, 2), done.stderr
    assert "\x1b" not in done.stderr
    assert operate(folder, "show", identifier)["note"] == ""


def test_a_prefix_of_several_ids_is_refused(template):
    with operating.operate(template) as operator:
        ids = [one.contribution_id for one in operator.contributions.all()]

        class Crowd:
            """The same pool, as if ids were short."""

            @property
            def contributions(self):
                return self

            def each(self, prefix):
                return [*operator.contributions.each(prefix), *operator.contributions.each(prefix)]

        assert operating.resolve(operator, ids[0][:30].upper()).contribution_id == ids[0]
        with pytest.raises(InvalidInput) as several:
            operating.resolve(Crowd(), ids[0][:4])
        with pytest.raises(NotFound):
            operating.resolve(operator, "")
    assert several.value.reason == "OPTION_INVALID"


def test_an_error_is_json_too(tmp_path):
    done = command("sites", "--dir", tmp_path, "--json")
    assert json.loads(done.stdout)["error"] == "POOL_UNKNOWN"
    assert done.returncode == 3


# -- fsck --------------------------------------------------------------------------------------------------------------


def test_fsck_finds_nothing_in_a_sound_pool_and_a_flipped_byte_in_another(folder):
    sound = command("fsck", folder, "--json")
    assert sound.returncode == 0, sound.stderr
    found = json.loads(sound.stdout)
    assert (found["problems"], found["contributions"], found["log_size"]) == ([], 3, 9)
    blob = next((folder / "blobs").glob("??/*"))
    blob.write_bytes(blob.read_bytes()[:-1] + b"\xff")
    broken = command("fsck", folder, "--json")
    assert broken.returncode == 7
    assert [problem["reason"] for problem in json.loads(broken.stdout)["problems"]] == ["BLOB_CORRUPT"]
    assert "BLOB_CORRUPT" in command("fsck", folder).stdout


# -- blueprints --------------------------------------------------------------------------------------------------------


def test_blueprints_are_the_bundled_ones_and_a_pools_own(folder):
    rows = json.loads(command("blueprint", "list", "--dir", folder, "--json").stdout)
    assert [(row["name"], row["where"]) for row in rows] == [
        ("nano-32", "bundled"),
        ("vit-s14", "bundled"),
        ("tiny-16", str(folder)),
    ]
    shown = json.loads(command("blueprint", "show", "tiny-16", "--dir", folder, "--json").stdout)
    assert (shown["image"], shown["schema"]) == (16, "genepool.blueprint/v1")
    assert failure(command("blueprint", "show", "tiny-16")) == (3, "BLUEPRINT_UNKNOWN")


def test_baking_from_an_empty_corpus_is_refused(tmp_path):
    (tmp_path / "corpus").mkdir()
    done = command("blueprint", "bake", "nano-32", "--corpus", "corpus", "--out", "out", "--steps", "1", cwd=tmp_path)
    assert failure(done) == (2, "FOLDER_EMPTY")


def test_a_blueprint_without_its_seed_says_how_to_make_it(tmp_path):
    done = command("init", "pool", "--blueprint", "vit-s14", cwd=tmp_path)
    assert failure(done) == (3, "FILE_MISSING")
    assert "genepool-server blueprint make vit-s14" in done.stderr
    (tmp_path / "seed").write_bytes(b"another seed")
    done = command("init", "pool", "--blueprint", "vit-s14", "--seed", "seed", cwd=tmp_path)
    assert failure(done) == (6, "SEED_MISMATCH")
    assert [path.name for path in tmp_path.iterdir()] == ["seed"]


def test_a_seed_is_made_of_weights_only(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"no archive")
    done = command("blueprint", "make", "vit-s14", "--weights", "weights.npz", "--out", "out", cwd=tmp_path)
    assert failure(done) == (2, "FILE_MALFORMED")
    assert not (tmp_path / "out").exists()


# -- serve, refused ----------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_said_at_once_and_leaves_the_folder_free(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert failure(command("serve", folder, "--listen", f"127.0.0.1:{port}")) == (5, "PORT_IN_USE")
    assert not (folder / "address").exists()
    assert not (folder / "operator.json").exists()
    with OpenPool.open(folder):
        pass


def test_a_second_server_on_a_folder_is_refused_and_the_first_goes_on(folder):
    with serving(folder):
        assert failure(command("serve", folder)) == (5, "FOLDER_IN_USE")
        assert (folder / "address").is_file()
        assert operate(folder, "sites")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--listen", "127.0.0.1"), (2, "CONFIG_INVALID")),
        (("--listen", "203.0.113.1:0"), (2, "OPTION_INVALID")),
        (("--workers", "-1"), (2, "CONFIG_INVALID")),
    ],
)
def test_options_that_cannot_be_are_refused(folder, arguments, expected):
    assert failure(command("serve", folder, *arguments)) == expected


def test_settings_that_are_wrong_are_named(folder, tmp_path):
    settings = folder / "genepool.toml"
    settings.write_text(settings.read_text().replace("pool.local/log", "another/log"))
    assert failure(command("serve", folder)) == (2, "CONFIG_INVALID")
    settings.write_text("workers = 1\n")
    done = command("serve", folder)
    assert failure(done) == (2, "CONFIG_INVALID")
    assert "workers" in done.stderr
    assert failure(command("serve", tmp_path / "nowhere")) == (3, "POOL_UNKNOWN")


def test_an_advertisement_of_a_server_that_died_does_not_keep_the_operator_out(folder):
    (folder / "operator.json").write_text('{"socket": "/nowhere/socket", "pid": 1}')
    assert operate(folder, "sites")
    (folder / "operator.json").write_text("half a fi")
    assert operate(folder, "sites")
