"""names: by which host names and addresses clients know the server."""

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_console import terminal
from genepool_server.commands.options import FolderArgument

if TYPE_CHECKING:
    from genepool_protocol.wire.errors import InvalidInput
    from genepool_server.config import ServerConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(names)


def names(
    folder: FolderArgument,
    *,
    advertise: Annotated[
        str | None, typer.Option(help="What clients are told from now on.", metavar="HOST[:PORT]")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", help="One more name or IP address; may be repeated.", metavar="HOST")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="One less; may be repeated.", metavar="HOST")
    ] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Show or change by which names clients know the server; its certificate follows when it is started again."""
    from genepool_server import config, durable

    settings = config.load(folder)
    hosts = [host for host in dict.fromkeys([*settings.hosts, *(add or [])]) if host not in (remove or [])]
    changed: dict[str, Any] = {"hosts": hosts} if hosts != settings.hosts else {}
    if advertise is not None:
        changed["advertise"] = advertise
    if changed:
        path = folder / config.CONFIG_FILE
        text = edited(path.read_text("utf-8-sig"), changed, str(path))
        durable.write(path, text.encode(), 0o644)
        settings = config.load(folder)
    _tell(folder, settings, as_json=as_json, changed=bool(changed))


def _tell(folder: Path, settings: "ServerConfig", *, as_json: bool, changed: bool) -> None:
    from genepool_server import app

    value = {"advertise": settings.advertise, "hosts": settings.hosts, "changed": changed}
    terminal.answer(value, as_json=as_json)
    if changed:
        terminal.say(f"start the server again; then its certificate and {folder / app.ANCHORS_FILE} say so")
        terminal.say("sites follow with: genepool site point DIR --pool pool.json")


def edited(text: str, values: dict[str, Any], what: str) -> str:
    """The file with other values for some settings that are in no table; the rest stays as people wrote it.

    Args:
        text: of the file.
        values: by the settings' names.
        what: the file, for sentences.

    Raises:
        InvalidInput: CONFIG_INVALID; OPTION_INVALID, a value cannot be put in its place.
    """
    from genepool_server import config

    tables = re.search(r"^\s*\[", text, re.MULTILINE)
    head, rest = (text[: tables.start()], text[tables.start() :]) if tables else (text, "")
    for name, value in values.items():
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        place = re.search(rf"^{name}\s*=.*$", head, re.MULTILINE)
        head = head[: place.start()] + line + head[place.end() :] if place else f"{head.rstrip()}\n\n{line}\n\n"
    try:
        settings = config.parse(tomllib.loads(head + rest), "the options")
    except tomllib.TOMLDecodeError as exc:
        raise _unplaced(what, values) from exc
    if any(getattr(settings, name) != value for name, value in values.items()):
        raise _unplaced(what, values)
    return head + rest


def _unplaced(what: str, values: dict[str, Any]) -> "InvalidInput":
    from genepool_protocol.wire.errors import InvalidInput

    return InvalidInput(
        "OPTION_INVALID", f"{' and '.join(values)} of {what} cannot be changed from here", "write the line by hand"
    )
