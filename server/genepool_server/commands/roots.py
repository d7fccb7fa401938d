"""root: the pool's trust root, which says to clients what its keys are. The server must be down."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genepool_console import terminal
from genepool_server.commands.options import HERE, DirOption

if TYPE_CHECKING:
    from genepool_server.root.ceremony import Ceremony

app = typer.Typer(
    help="Show and change what clients trust: keys, witnesses, and who may say so.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", help="Folder with the operators' keys.", metavar="FOLDER", show_default="DIR/offline"),
]


@app.command()
def show(*, directory: DirOption = HERE, as_json: terminal.JsonOption = False) -> None:
    """What clients are told, who may change it, and until when it holds; also while the server runs."""
    from genepool_server.pool.store.folder import PoolFolder
    from genepool_server.root import settling
    from genepool_server.root.repository import Repository

    place = PoolFolder(directory)
    settling.require(place)
    repository = Repository(place.trust)
    root, trusted = repository.root().signed, repository.trusted()
    parts = {"root": root, "targets": repository.targets(), "snapshot": repository.snapshot()}
    parts["timestamp"] = repository.timestamp()
    rows = [
        *(_row(f"keys of {name}", f"{item.threshold} of {_short(item.keyids)}") for name, item in root.roles.items()),
        *(
            _row(name, f"version {item.version}", f"until {item.expires:%Y-%m-%d %H:%M} UTC")
            for name, item in parts.items()
        ),
        *(_row("log key", item.vkey, _span(item.first, item.last)) for item in trusted.signers.logs),
        *(_row("release key", item.key.keyid, _span(item.first, item.end)) for item in trusted.release.spans),
        *(_row("operator's key", item.key.keyid, _span(item.first, item.end)) for item in trusted.operator.spans),
        _row("witnesses", f"{trusted.quorum} of {len(trusted.witnesses)} must have cosigned"),
    ]
    value = {"rows": rows, "trusted": trusted.model_dump(by_alias=True)}
    terminal.answer(value, as_json=as_json, text=terminal.table(rows, ("what", "which", "holds")))


@app.command()
def publish(*, directory: DirOption = HERE, keys: KeysOption = None, as_json: terminal.JsonOption = False) -> None:
    """Tell clients the witnesses and the quorum of genepool.toml, and begin another year; needs the targets key."""
    from genepool_server import config

    settings = config.load(directory)
    with _ceremony(directory, keys) as held:
        trusted = held.publish(settings.witnesses, settings.quorum)
    value = {"witnesses": trusted.witnesses, "quorum": trusted.quorum}
    text = f"published: {trusted.quorum} of {len(trusted.witnesses)} witnesses must have cosigned"
    terminal.answer(value, as_json=as_json, text=text)


@app.command("rotate-key")
def rotate_key(
    name: Annotated[str, typer.Argument(metavar="log|release|operator|ca|root|targets|online", help="Which key.")],
    *,
    directory: DirOption = HERE,
    keys: KeysOption = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="The release key was stolen: what it signed outside the log is void.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="The second step for ca: every client has been told of the new one.")
    ] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Put another key in the place of one; what the old one signed in its time stays valid."""
    from genepool_protocol.wire.errors import InvalidInput
    from genepool_server.root.ceremony import POOL_KEYS, ROOT_KEYS

    with _ceremony(directory, keys) as held:
        new_files: list[Path] = []
        if name in POOL_KEYS:
            held.replace_pool_key(name, compromised=compromised)
        elif name == "ca":
            (held.finish_ca if finish else held.begin_ca)()
        elif name in ROOT_KEYS:
            new_files = held.replace_root_key(name)
        else:
            names = ", ".join((*POOL_KEYS, "ca", *ROOT_KEYS))
            raise InvalidInput("OPTION_INVALID", f"there is no key {name[:40]!r}", f"choose one of {names}")
    value = {"rotated": name, "new_files": [str(path) for path in new_files]}
    told = name == "ca" and not finish
    outcome = "clients are told of another CA: in a week, with --finish" if told else f"the {name} key was replaced"
    text = [outcome, *(f"take away: {path}" for path in new_files)]
    terminal.answer(value, as_json=as_json, text=text)


@app.command("add-key")
def add_key(
    *,
    directory: DirOption = HERE,
    keys: KeysOption = None,
    threshold: Annotated[int | None, typer.Option(help="How many root keys must sign from now on.", min=1)] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Make one more root key, for another operator to take away."""
    with _ceremony(directory, keys) as held:
        path = held.add_key(threshold)
    terminal.answer({"new_files": [str(path)]}, as_json=as_json, text=f"take away: {path}")


@app.command("threshold")
def set_threshold(
    number: Annotated[int, typer.Argument(help="How many root keys must sign.", min=1)],
    *,
    directory: DirOption = HERE,
    keys: KeysOption = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Say how many root keys must sign the next root."""
    with _ceremony(directory, keys) as held:
        held.set_threshold(number)
    terminal.answer({"threshold": number}, as_json=as_json, text=f"{number} root keys must sign from now on")


@contextmanager
def _ceremony(directory: Path, keys: Path | None) -> Iterator["Ceremony"]:
    from datetime import UTC, datetime

    from genepool_server.pool.store.folder import PoolFolder
    from genepool_server.root.ceremony import Ceremony

    with Ceremony.held(PoolFolder(directory), keys, datetime.now(UTC)) as held:
        yield held


def _row(what: str, which: str, holds: str = "") -> dict[str, str]:
    return {"what": what, "which": which, "holds": holds}


def _short(keyids: Sequence[str]) -> str:
    return ", ".join(keyid[:16] for keyid in keyids)


def _span(first: int, end: int | None) -> str:
    return f"from entry {first}" + ("" if end is None else f" to {end}")
