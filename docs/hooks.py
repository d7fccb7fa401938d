"""MkDocs hooks: the pages that come from the code, and those that live beside the code that they speak of."""

import dataclasses
import importlib
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from genepool_client.site.folder import SiteConfig
from genepool_protocol.machine.variables import VARIABLES
from genepool_protocol.wire.errors import REASONS
from genepool_server.config import ServerConfig

ROOT: Final = Path(__file__).parents[1]
ADOPTED: Final = {
    "protocol/SPEC.md": "reference/specification.md",
    "THREAT_MODEL.md": "explanation/threat-model.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "client/genepool_client/simulate/samples/ORIGIN.md": "project/samples.md",
    "deploy/runbook.md": "how-to/runbook.md",
    "deploy/settings.md": "reference/settings.md",
    "deploy/storage.md": "how-to/storage.md",
    "lab/data/README.md": "how-to/seeds.md",
    "tests/benchmarks/method/bench.md": "results/all-tables.md",
}
"""Pages of the repository that stand beside what they describe, and where the site shows them."""
_SETTERS: Final = {
    "people": "What people set:",
    "genepool": "What genepool sets for processes of its own:",
    "tests": "What the tests and tools of the repository read:",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    pages = {
        "reference/errors.md": errors(),
        **{f"reference/{name}.md": commands(name) for name in programs()},
        **{target: adopted(source) for source, target in ADOPTED.items()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for picture in sorted((ROOT / "tests/benchmarks/method").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as MkDocs calls
    """Let a search find pages that help before decisions that explain."""
    if page.file.src_uri.startswith("decisions/"):
        page.meta["search"] = {"boost": 0.3}
    return markdown


# -- pages that live elsewhere ----------------------------------------------------------------------------------------


def adopted(source: str) -> str:
    """A page of the repository, its links as the site has them."""
    places = ADOPTED | {
        str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")
    }
    here = posixpath.dirname(ADOPTED[source])

    def moved(match: re.Match[str]) -> str:
        text, target, anchor = match.group(1), match.group(2), match.group(3) or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in places:
            return f"[{text}]({posixpath.relpath(places[path], here)}{anchor})"
        return match.group(0) if target.endswith(".png") or not target else f"`{path}`"

    page = (ROOT / source).read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]*)(#[^)]*)?\)", moved, page)


# -- commands ---------------------------------------------------------------------------------------------------------


def programs() -> dict[str, str]:
    """The console scripts, as pyproject.toml names them."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]


def commands(name: str) -> str:
    """The page of a program: every command with its arguments and options."""
    module = importlib.import_module(programs()[name].partition(":")[0])
    root = typer.main.get_command(module.app)
    return "\n".join([f"# {name}", "", *_command(root, name, 1)])


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    if level > 1:
        yield from (f"{'#' * min(level, 4)} {path}", "")
    yield from (_plain(command.help or ""), "")
    parameters = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    shown = [
        parameter for parameter in parameters if parameter.name not in {"help", "install_completion", "show_completion"}
    ]
    if not hasattr(command, "commands") and shown:
        yield from ("| argument or option | default | meaning |", "|---|---|---|")
        yield from (_parameter(parameter) for parameter in shown)
        yield ""
    if epilog := getattr(command, "epilog", None):
        yield from (_plain(epilog), "")
    for inner in getattr(command, "commands", {}).values():
        if not inner.hidden:
            yield from _command(inner, f"{path} {inner.name}", level + 1)


def _parameter(parameter: click.Parameter) -> str:
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    if isinstance(parameter, click.Argument):
        names = parameter.make_metavar(click.Context(click.Command("x")))
    default = parameter.default if not callable(parameter.default) else None
    said = "required" if parameter.required else "" if default in (None, False, "", (), []) else f"`{default}`"
    return f"| `{names}` | {said} | {_cell(getattr(parameter, 'help', '') or '')} |"


def _plain(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").splitlines()).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- settings and errors ----------------------------------------------------------------------------------------------


def settings() -> str:
    """The page of every setting: `deploy/settings.md`, which `python -m tests.docs` writes and a test compares."""
    return "\n".join(
        [
            "# Settings",
            "",
            "Every switch of genepool that is not an option of a command, from the code's own declarations. A name",
            "that there is not is refused, with the nearest one that there is. `genepool-server config check DIR` says",
            "what a pool is set to and where each setting comes from; it opens nothing.",
            "",
            "## genepool.toml",
            "",
            "A pool's settings, in its folder. They are read when the server starts.",
            "A line that is missing has its default.",
            "",
            *_fields(ServerConfig, ""),
            "## site.json",
            "",
            "A site's settings, in its folder. `genepool site init` writes it.",
            "",
            *_fields(SiteConfig, "", tables=False),
            *_variables(),
        ]
    )


def _variables() -> Iterator[str]:
    yield from ("## Environment", "")
    for setter, sentence in _SETTERS.items():
        yield from (sentence, "", "| variable | meaning |", "|---|---|")
        for variable in VARIABLES.values():
            if variable.setter == setter:
                yield f"| `{variable.name}` | {_cell(variable.meaning)} |"
        yield ""
    yield "Secrets of PostgreSQL and S3 are taken from where their own clients look ([storage](storage.md))."
    yield ""


def _fields(model: type[BaseModel], prefix: str, *, tables: bool = True) -> Iterator[str]:
    yield from ("| key | default | meaning |", "|---|---|---|")
    below: list[tuple[str, str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if tables and isinstance(inner, type) and issubclass(inner, BaseModel):
            below.append((f"{prefix}{name}", field.description or "", inner))
            continue
        yield f"| `{field.alias or name}` | {_default(field)} | {_cell(field.description or '')} |"
    yield ""
    for name, description, inner in below:
        yield from (f"### [{name}]", "", description, "", *_fields(inner, f"{name}."))


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "`[]`"
    return (
        "required" if field.default is PydanticUndefined else f"`{field.default!s}`" if field.default != "" else "empty"
    )


def errors() -> str:
    """The page of every reason, as the one table of the code has them."""
    rows = [f"| `{name}` | {row.kind.__name__} | {row.code} | {row.kind.exit_code} |" for name, row in REASONS.items()]
    assert all(dataclasses.is_dataclass(row) for row in REASONS.values())
    return "\n".join(
        [
            "# Errors",
            "",
            "Every error has a stable reason, a sentence that names input and rule, and a fix. With `--json` it is one",
            "JSON object on standard error. The [specification](specification.md) says what each reason means.",
            "",
            "| reason | class | gRPC status | exit code |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
